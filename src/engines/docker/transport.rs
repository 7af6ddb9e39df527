//! How requests reach the engine: one short-lived connection each, with deadlines and the API
//! version that was agreed on.
//!
//! bollard builds requests and reads answers; the way between is here, because bollard's own
//! pool keeps connections that die with the engine, tells refused access from absence only in
//! prose, and sets no deadline for connecting. A local socket is connected to in microseconds.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    address::EngineAddress,
    error::{Error, chain},
    socket::Socket,
    status::Known,
    version::{ApiVersion, Identity},
};

/// A request is sent so often when the engine is another one each time.
pub(super) const MAX_AGREEMENTS: u32 = 3;

/// How long the engine may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For taking a connection.
    pub connect: Duration,
    /// For saying that it is there.
    pub probe: Duration,
    /// For an answer to a call that waits for nothing.
    pub call: Duration,
    /// The time between two probes while somebody watches, a log's follower for one.
    pub watch: Duration,
    /// On top of the grace, for stopping a container.
    pub stop_margin: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            probe: Duration::from_secs(5),
            call: Duration::from_secs(30),
            watch: Duration::from_secs(15),
            stop_margin: Duration::from_secs(15),
        }
    }
}

/// The way to one engine.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) address: EngineAddress,
    pub(super) deadlines: Deadlines,
    pub(super) known: Known,
    pub(super) tasks: TaskTracker,
}

impl Transport {
    /// Connects within the deadline; what is learnt is remembered.
    pub(super) async fn connect(&self) -> Result<Socket, Error> {
        let connected = timeout(self.deadlines.connect, Socket::connect(&self.address))
            .await
            .unwrap_or_else(|_| Err(self.unreachable("it takes no connection in time")));
        connected.inspect_err(|error| self.known.failed(error))
    }

    pub(super) fn unreachable(&self, cause: impl Into<String>) -> Error {
        Error::unreachable(&self.address.to_string(), cause)
    }

    /// Reports a failure that was seen in the middle of a call.
    pub(super) fn broke(&self, cause: impl Into<String>) -> Error {
        let error = Error::no_answer(&self.address.to_string(), cause);
        self.known.failed(&error);
        error
    }

    /// Asks the engine whether it is there and which API version it speaks.
    pub(super) async fn probe(&self) -> Result<ApiVersion, Error> {
        let ping = Request::builder()
            .method(Method::GET)
            .uri("/_ping")
            .body(Full::<Bytes>::default());
        let ping = ping.map_err(|error| Error::Protocol(error.to_string()))?;
        let response = timeout(self.deadlines.probe, self.exchange(ping))
            .await
            .unwrap_or_else(|_| Err(self.broke("it took the connection and said nothing")))?;
        let identity = Identity::from_headers(response.headers()).ok_or_else(|| {
            Error::Protocol(format!(
                "what answers at {} is not a container engine",
                self.address
            ))
        });
        let identity = identity.inspect_err(|error| self.known.failed(error))?;
        if response.status().is_server_error() {
            return Err(self.broke(format!("it answers with status {}", response.status())));
        }
        self.known.answered(&identity);
        Ok(identity.api.agree())
    }

    /// The API version to speak: agreed on before, or now. When this fails, nothing of the caller's was sent.
    pub(super) async fn api_version(&self) -> Result<ApiVersion, Error> {
        if let Some(agreed) = self.known.agreed() {
            return Ok(agreed);
        }
        self.probe().await.map_err(|error| match error {
            Error::NoAnswer { address, cause } => Error::Unreachable { address, cause },
            error => error,
        })
    }

    /// Sends one request on a connection of its own and waits for the head of its answer.
    async fn exchange<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("docker"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let socket = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| self.broke(chain(&error)))?;
        // Ends with the response, or when the caller drops it.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %chain(&error), "a connection to the engine ended early");
            }
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| self.broke(chain(&error)))
    }

    /// Sends a request of bollard's.
    ///
    /// Every answer names its engine. When it is another one than before (a restart with
    /// another version) and it refused the request, the version that was spoken may be why: such a
    /// request was not looked at, so it is sent again with the version agreed on anew.
    pub(super) async fn send(
        &self,
        request: bollard::BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let (parts, body) = request.into_parts();
        let mut body = match body {
            Either::Left(full) => Either::Left(full),
            Either::Right(stream) => Either::Right(Some(stream)),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let agreed = self.api_version().await?;
            let mut request = Request::new(());
            *request.method_mut() = parts.method.clone();
            *request.headers_mut() = parts.headers.clone();
            *request.uri_mut() = versioned(&parts.uri, agreed)?;
            let response = match &mut body {
                Either::Left(full) => self.exchange(request.map(|()| full.clone())).await?,
                Either::Right(stream) => match stream.take() {
                    Some(stream) => self.exchange(request.map(|()| stream)).await?,
                    None => return Err(Error::Protocol("the engine was replaced".to_owned())),
                },
            };
            let changed = Identity::from_headers(response.headers())
                .is_some_and(|identity| self.known.answered(&identity));
            let refused = response.status() == StatusCode::BAD_REQUEST;
            let outdated = changed && self.known.agreed() != Some(agreed);
            if !(refused && outdated && attempts < MAX_AGREEMENTS) {
                return Ok(response);
            }
        }
    }
}

/// bollard leaves the version out of its paths; here it comes back in.
fn versioned(uri: &Uri, version: ApiVersion) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("/v{version}{path}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| Error::Protocol(error.to_string()))
}

/// bollard over the transport. Deadlines are set around each call, so bollard's own never strikes.
pub(super) fn docker(transport: Arc<Transport>) -> bollard::Docker {
    const NEVER: u64 = 7 * 24 * 3600;
    let carrier = move |request: bollard::BollardRequest| -> Carried {
        let transport = Arc::clone(&transport);
        Box::pin(async move {
            let sent = transport.send(request).await;
            sent.map_err(|error| bollard::errors::Error::IOError {
                err: io::Error::other(error),
            })
        })
    };
    #[allow(clippy::expect_used)] // bollard 0.21 builds this without looking at anything.
    bollard::Docker::connect_with_custom_transport(
        carrier,
        Some("http://docker"),
        NEVER,
        bollard::API_DEFAULT_VERSION,
    )
    .expect("a client over a transport of our own")
}

type Carried =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, bollard::errors::Error>> + Send>>;
