//! A service with all four kinds of calls that no contract here names: a forwarder must not care.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, body::Body, metadata::MetadataMap};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_service::Service;

type Codec = ProstCodec<String, String>;
pub type Strings = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

pub const UNARY: PathAndQuery = path("/test.Echo/Unary");
pub const COLLECT: PathAndQuery = path("/test.Echo/Collect");
pub const COUNT: PathAndQuery = path("/test.Echo/Count");
pub const CHAT: PathAndQuery = path("/test.Echo/Chat");
pub const HANG: PathAndQuery = path("/test.Echo/Hang");
pub const FAIL: PathAndQuery = path("/test.Echo/Fail");
pub const FLOOD: PathAndQuery = path("/test.Echo/Flood");

const fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// Counts the calls that hang or flood, and those of them that were dropped.
#[derive(Clone, Default)]
pub struct Echo {
    pub begun: Arc<AtomicUsize>,
    pub dropped: Arc<AtomicUsize>,
}

impl Echo {
    fn begin(&self) -> Dropped {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Dropped(Arc::clone(&self.dropped))
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/test.Echo/Collect" => grpc.client_streaming(service_fn(collect), request).await,
                "/test.Echo/Count" => grpc.server_streaming(service_fn(count), request).await,
                "/test.Echo/Flood" => {
                    let flood = service_fn(move |_: Request<String>| {
                        let stream = flood(echo.begin());
                        async move { Ok(Response::new(stream)) }
                    });
                    grpc.server_streaming(flood, request).await
                }
                "/test.Echo/Chat" => grpc.streaming(service_fn(chat), request).await,
                "/test.Echo/Fail" => grpc.unary(service_fn(fail), request).await,
                "/test.Echo/Hang" | "/turbopanel.agent.v1.AgentService/GetStatus" => {
                    let hang = service_fn(move |_: Request<String>| {
                        let dropped = echo.begin();
                        async move {
                            let _dropped = dropped;
                            std::future::pending::<Result<Response<String>, Status>>().await
                        }
                    });
                    grpc.unary(hang, request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Answers with the message, the names of the headers that arrived, and the binary one.
async fn unary(request: Request<String>) -> Result<Response<String>, Status> {
    let mut names: Vec<String> = request
        .metadata()
        .keys()
        .map(|key| match key {
            tonic::metadata::KeyRef::Ascii(key) => key.as_str().to_owned(),
            tonic::metadata::KeyRef::Binary(key) => key.as_str().to_owned(),
        })
        .collect();
    names.sort();
    let bytes = request.metadata().get_bin("x-raw-bin").cloned();
    let mut response = Response::new(request.into_inner());
    let names = names.join(",").parse().unwrap();
    response.metadata_mut().insert("x-names", names);
    if let Some(bytes) = bytes {
        response.metadata_mut().insert_bin("x-raw-bin", bytes);
    }
    Ok(response)
}

async fn collect(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let mut parts = request.into_inner();
    let mut whole = String::new();
    while let Some(part) = parts.message().await? {
        whole.push_str(&part);
    }
    Ok(Response::new(whole))
}

/// As many numbers as asked for, then an error in the trailers.
async fn count(request: Request<String>) -> Result<Response<Strings>, Status> {
    let upto: usize = request.into_inner().parse().unwrap();
    let numbers = tokio_stream::iter((0..upto).map(|number| Ok(number.to_string())));
    let end = tokio_stream::once(Err(failure()));
    Ok(Response::new(Box::pin(numbers.chain(end))))
}

/// Never ends and never pauses.
fn flood(dropped: Dropped) -> Strings {
    let numbers = (0u64..).map(move |number| {
        let _dropped = &dropped;
        Ok(number.to_string())
    });
    Box::pin(tokio_stream::iter(numbers))
}

async fn chat(request: Request<Streaming<String>>) -> Result<Response<Strings>, Status> {
    let mut heard = request.into_inner();
    let (say, said) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(Some(word)) = heard.message().await {
            if say.send(Ok(format!("you said {word}"))).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(said))))
}

async fn fail(_: Request<String>) -> Result<Response<String>, Status> {
    Err(failure())
}

fn failure() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-trailer", "at the end".parse().unwrap());
    Status::with_details_and_metadata(
        tonic::Code::DataLoss,
        "that is all",
        bytes::Bytes::from_static(b"\x08\x0f"),
        metadata,
    )
}
