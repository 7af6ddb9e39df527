//! The service that is called in every way, and the three loads that are put on it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::ensure;
use http::uri::PathAndQuery;
use prost::bytes::Bytes;
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::{Grpc, GrpcService},
    server::NamedService,
};
use tonic_prost::ProstCodec;

const CALLS: usize = 5_000;
const SMALL: (u64, usize) = (200_000, 120);
const LARGE: (u64, usize) = (20_000, 16 * 1024);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes = "bytes", tag = "2")]
    body: Bytes,
}

/// Answers a note with itself, or with as many as it says.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl tonic::codegen::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
            Ok(if request.uri().path().ends_with("/Count") {
                grpc.server_streaming(Count, request).await
            } else {
                grpc.unary(Same, request).await
            })
        })
    }
}

struct Same;

impl tonic::server::UnaryService<Note> for Same {
    type Response = Note;
    type Future = std::future::Ready<Result<Response<Note>, Status>>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

struct Count;

impl tonic::server::ServerStreamingService<Note> for Count {
    type Response = Note;
    type ResponseStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<Note, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let Note { number, body } = request.into_inner();
        let notes = (0..number).map(move |number| {
            Ok(Note {
                number,
                body: body.clone(),
            })
        });
        let stream: Self::ResponseStream = Box::pin(tokio_stream::iter(notes));
        std::future::ready(Ok(Response::new(stream)))
    }
}

/// What one round over one way measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) small_per_s: f64,
    pub(crate) large_mb_per_s: f64,
}

/// Puts the three loads on the service behind this channel.
pub(crate) async fn round<T>(channel: T) -> anyhow::Result<Round>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut grpc = Grpc::new(channel);
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..CALLS + CALLS / 10 {
        let began = Instant::now();
        let request = Request::new(Note {
            number: call as u64,
            body: Bytes::from_static(b"hello"),
        });
        ready(&mut grpc).await?;
        let path = PathAndQuery::from_static("/bench.Echo/Same");
        let answer: Response<Note> = grpc.unary(request, path, ProstCodec::default()).await?;
        ensure!(answer.into_inner().number == call as u64, "another answer");
        if call >= CALLS / 10 {
            times.push(began.elapsed());
        }
    }
    times.sort();
    let at = |share: f64| {
        let index = ((times.len() - 1) as f64 * share) as usize;
        times
            .get(index)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    let (small, _) = stream(&mut grpc, SMALL).await?;
    let (large, bytes) = stream(&mut grpc, LARGE).await?;
    Ok(Round {
        p50_us: at(0.5),
        p99_us: at(0.99),
        small_per_s: SMALL.0 as f64 / small.as_secs_f64(),
        large_mb_per_s: bytes as f64 / 1e6 / large.as_secs_f64(),
    })
}

async fn ready<T: GrpcService<Body>>(grpc: &mut Grpc<T>) -> anyhow::Result<()> {
    grpc.ready()
        .await
        .map_err(|error| anyhow::anyhow!(error.into()))
}

async fn stream<T>(
    grpc: &mut Grpc<T>,
    (number, size): (u64, usize),
) -> anyhow::Result<(Duration, u64)>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let began = Instant::now();
    let body = Bytes::from(vec![7; size]);
    ready(grpc).await?;
    let path = PathAndQuery::from_static("/bench.Echo/Count");
    let request = Request::new(Note { number, body });
    let answer: Response<tonic::Streaming<Note>> = grpc
        .server_streaming(request, path, ProstCodec::default())
        .await?;
    let mut notes = answer.into_inner();
    let (mut next, mut bytes) = (0, 0);
    while let Some(note) = notes.next().await {
        let note = note?;
        ensure!(note.number == next, "a note is missing");
        next += 1;
        bytes += note.body.len() as u64;
    }
    ensure!(next == number, "only {next} notes");
    Ok((began.elapsed(), bytes))
}
