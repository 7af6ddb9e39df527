//! A small gRPC service with every kind of call, and a client for it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming, body::Body};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};
use turbopanel_tunnel::{Caller, Channel, Methods};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

pub fn note(number: u64, size: usize) -> Note {
    let body = Bytes::from(vec![number as u8; size]);
    Note { number, body }
}

/// What the service has seen.
#[derive(Default)]
pub struct Seen {
    pub running: AtomicUsize,
    pub started: AtomicUsize,
}

struct Running(Arc<Seen>);

impl Running {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.running.fetch_add(1, Ordering::SeqCst);
        seen.started.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Default)]
pub struct Echo {
    pub seen: Arc<Seen>,
}

type Notes = std::pin::Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

async fn unary(seen: Arc<Seen>, request: Request<Note>) -> Result<Response<Note>, Status> {
    let _running = Running::new(&seen);
    match request.get_ref().number {
        404 => {
            let details =
                ErrorDetails::with_error_info("NOT_HERE", "test", [("k".into(), "v".into())]);
            return Err(Status::with_error_details(
                Code::NotFound,
                "no such note",
                details,
            ));
        }
        500 => panic!("asked to"),
        999 => std::future::pending::<()>().await,
        _ => {}
    }
    let mut response = Response::new(request.get_ref().clone());
    if let Some(Caller(caller)) = request.extensions().get() {
        response.metadata_mut().insert(
            "x-caller",
            caller.escape_default().to_string().parse().unwrap(),
        );
    }
    for (name, value) in request.metadata().as_ref() {
        if name.as_str().starts_with("x-") {
            response.metadata_mut().as_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

/// `number` notes of the body's size, counted from 0; 0 means without end.
async fn count(seen: Arc<Seen>, request: Request<Note>) -> Result<Response<Notes>, Status> {
    let running = Running::new(&seen);
    let wanted = request.into_inner();
    let upto = match wanted.number {
        0 => u64::MAX,
        number => number,
    };
    let stream = tokio_stream::iter(0..upto).map(move |number| {
        let _ = &running;
        Ok(Note {
            number,
            body: wanted.body.clone(),
        })
    });
    Ok(Response::new(Box::pin(stream)))
}

async fn sum(seen: Arc<Seen>, request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let _running = Running::new(&seen);
    let mut notes = request.into_inner();
    let (mut sum, mut size) = (0, 0);
    while let Some(note) = notes.next().await {
        let note = note?;
        sum += note.number;
        size += note.body.len() as u64;
    }
    Ok(Response::new(Note {
        number: sum,
        body: Bytes::from(size.to_string()),
    }))
}

async fn chat(
    seen: Arc<Seen>,
    request: Request<Streaming<Note>>,
) -> Result<Response<Notes>, Status> {
    let running = Running::new(&seen);
    let stream = request.into_inner().map(move |note| {
        let _ = &running;
        note
    });
    Ok(Response::new(Box::pin(stream)))
}

impl tower_service::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let seen = Arc::clone(&self.seen);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                "/test.Echo/Unary" => {
                    let handler = tower::service_fn(move |r| unary(Arc::clone(&seen), r));
                    grpc.unary(handler, request).await
                }
                "/test.Echo/Count" | "/test.Echo/Follow" => {
                    let handler = tower::service_fn(move |r| count(Arc::clone(&seen), r));
                    grpc.server_streaming(handler, request).await
                }
                "/test.Echo/Sum" => {
                    let handler = tower::service_fn(move |r| sum(Arc::clone(&seen), r));
                    grpc.client_streaming(handler, request).await
                }
                "/test.Echo/Chat" => {
                    let handler = tower::service_fn(move |r| chat(Arc::clone(&seen), r));
                    grpc.streaming(handler, request).await
                }
                _ => Status::unimplemented("unknown method").into_http(),
            })
        })
    }
}

/// Says that `Follow` is bulk and that `Follow` and `Count` change nothing.
pub fn methods() -> Methods {
    // FileDescriptorSet { file { package "test" service { "Echo", methods with options } } } by hand.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        [&[tag << 3 | 2, bytes.len() as u8], bytes].concat()
    }
    let no_side_effects = [0x90, 0x02, 1];
    // Field 50718 as a varint with the value 2: CALL_CLASS_BULK.
    let bulk = [0xf0, 0xe1, 0x18, 2];
    let follow = [
        field(1, b"Follow"),
        field(4, &[&no_side_effects[..], &bulk].concat()),
    ]
    .concat();
    let count = [field(1, b"Count"), field(4, &no_side_effects)].concat();
    let service = [field(1, b"Echo"), field(2, &follow), field(2, &count)].concat();
    let file = [field(2, b"test"), field(6, &service)].concat();
    Methods::from_descriptor_set(&field(1, &file)).unwrap()
}

fn path(method: &str) -> PathAndQuery {
    format!("/test.Echo/{method}").parse().unwrap()
}

/// A generated client would look like this.
pub struct Client(tonic::client::Grpc<Channel>);

impl Client {
    pub fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel).max_decoding_message_size(8 << 20))
    }

    pub async fn unary(&mut self, request: Request<Note>) -> Result<Response<Note>, Status> {
        self.0
            .unary(request, path("Unary"), ProstCodec::<Note, Note>::default())
            .await
    }

    pub async fn number(&mut self, number: u64) -> Result<Note, Status> {
        Ok(self
            .unary(Request::new(note(number, 3)))
            .await?
            .into_inner())
    }

    pub async fn count(
        &mut self,
        method: &str,
        number: u64,
        size: usize,
    ) -> Result<Streaming<Note>, Status> {
        let request = Request::new(Note {
            number,
            ..note(0, size)
        });
        let codec = ProstCodec::<Note, Note>::default();
        Ok(self
            .0
            .server_streaming(request, path(method), codec)
            .await?
            .into_inner())
    }

    pub async fn sum(
        &mut self,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Note, Status> {
        let codec = ProstCodec::<Note, Note>::default();
        Ok(self
            .0
            .client_streaming(Request::new(notes), path("Sum"), codec)
            .await?
            .into_inner())
    }

    pub async fn chat(
        &mut self,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Streaming<Note>, Status> {
        let codec = ProstCodec::<Note, Note>::default();
        Ok(self
            .0
            .streaming(Request::new(notes), path("Chat"), codec)
            .await?
            .into_inner())
    }

    pub async fn unknown(&mut self) -> Result<Response<Note>, Status> {
        self.0
            .unary(
                Request::new(note(1, 1)),
                path("Nothing"),
                ProstCodec::<Note, Note>::default(),
            )
            .await
    }
}

/// Waits until a condition holds, for at most ten seconds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}
