//! A control plane under test, and agents that dial it.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use turbopanel_control_plane::{
    proto::control::{
        Agent, CreateTokenRequest, CreateTokenResponse, GetAgentRequest, TokenKind,
        fleet_service_client::FleetServiceClient, token_service_client::TokenServiceClient,
    },
    serve::{Plane, ServeConfig, ServeError},
};
use turbopanel_tunnel::{
    AgentHello, DialError, DialHeaders, Instance, Methods, Server, SessionEnd, Settings, Target,
    agent_session, dial,
};

use crate::echo::Echo;

/// Sends a token, and the name of an agent, with every call.
#[derive(Clone)]
pub struct With {
    token: Option<String>,
    agent: Option<String>,
}

impl With {
    pub fn token(token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            agent: None,
        }
    }
}

impl Interceptor for With {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        if let Some(agent) = &self.agent {
            let value = MetadataValue::try_from(agent).unwrap();
            request.metadata_mut().insert("turbopanel-agent", value);
        }
        Ok(request)
    }
}

pub type Client = InterceptedService<Channel, With>;

pub struct TestPlane {
    pub address: SocketAddr,
    pub admin: String,
    dir: PathBuf,
    kept: Option<TempDir>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

impl TestPlane {
    pub async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut plane = Self::start_in(dir.path()).await;
        plane.kept = Some(dir);
        plane
    }

    pub async fn start_in(dir: &Path) -> Self {
        let mut config = ServeConfig::new(dir);
        config.listen.set_port(0);
        config.grace = Duration::from_secs(5);
        Self::start_as(config).await
    }

    pub async fn start_as(config: ServeConfig) -> Self {
        let dir = config.data_dir.clone();
        let plane = Plane::bind(config).await.unwrap();
        let address = plane.address();
        let admin = std::fs::read_to_string(plane.admin_token_file()).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(plane.serve(shutdown.clone()));
        Self {
            address,
            admin: admin.trim().to_owned(),
            dir,
            kept: None,
            shutdown,
            task,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it and waits for the end; the data directory stays.
    pub async fn stop(self) -> Option<TempDir> {
        self.shutdown.cancel();
        within(20, self.task).await.unwrap().unwrap();
        self.kept
    }

    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    pub fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy()
    }

    pub fn client(&self, token: Option<&str>, agent: Option<&str>) -> Client {
        let with = With {
            token: token.map(str::to_owned),
            agent: agent.map(str::to_owned),
        };
        InterceptedService::new(self.channel(), with)
    }

    pub fn fleet(&self) -> FleetServiceClient<Client> {
        FleetServiceClient::new(self.client(Some(&self.admin), None))
    }

    pub fn tokens(&self) -> TokenServiceClient<Client> {
        TokenServiceClient::new(self.client(Some(&self.admin), None))
    }

    pub async fn create(&self, kind: TokenKind, name: &str) -> CreateTokenResponse {
        let request = CreateTokenRequest {
            kind: kind.into(),
            name: name.to_owned(),
        };
        self.tokens()
            .create_token(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn agent(&self, name: &str) -> Agent {
        let request = GetAgentRequest {
            name: name.to_owned(),
        };
        let response = self.fleet().get_agent(request).await.unwrap();
        response.into_inner().agent.unwrap()
    }

    /// An agent with a new token, connected.
    pub async fn join(&self, name: &str, echo: &Echo) -> (TestAgent, CreateTokenResponse) {
        let token = self.create(TokenKind::Agent, name).await;
        let agent = TestAgent::dial(self.address, &token.secret, echo)
            .await
            .unwrap();
        eventually("the agent is connected", async || {
            self.agent(name).await.connected
        })
        .await;
        (agent, token)
    }

    /// The status that ends a gRPC call with an empty message, as it came over HTTP/2.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Status {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let driving = tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let message = Full::new(Bytes::from_static(&[0; 5]));
        let answer = sender.send_request(request.body(message).unwrap());
        let (head, body) = within(10, answer).await.unwrap().into_parts();
        let body = within(10, body.collect()).await.unwrap();
        driving.abort();
        let trailers = body.trailers().unwrap_or(&head.headers);
        Status::from_header_map(trailers).expect("a status")
    }

    /// The whole answer to a plain HTTP request.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: plane\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(10, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// An agent's session over a real WebSocket, serving [`Echo`].
pub struct TestAgent {
    task: JoinHandle<SessionEnd>,
    cancel: CancellationToken,
}

impl TestAgent {
    pub async fn dial(address: SocketAddr, token: &str, echo: &Echo) -> Result<Self, DialError> {
        static DIALS: AtomicU64 = AtomicU64::new(1);
        let target = Target::parse(&format!("http://{address}")).unwrap();
        let headers = DialHeaders {
            token: Some(token.to_owned()),
            agent: None,
            user_agent: "test".to_owned(),
        };
        let socket = within(10, dial(&target.join("/agent/connect"), &headers)).await?;
        let server = Server::new(echo.clone(), Methods::default(), Settings::default());
        let hello = AgentHello {
            agent: None,
            instance: Instance::random(),
            dial: DIALS.fetch_add(1, Ordering::Relaxed),
            version: "9.8.7".to_owned(),
            policy: "full".to_owned(),
            capabilities: vec!["echo".to_owned()],
            authority: target.authority(),
            signer: None,
            heartbeat: None,
        };
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task =
            tokio::spawn(async move { agent_session(socket, hello, &server, |_| {}, stop).await });
        Ok(Self { task, cancel })
    }

    pub fn stop(&self) {
        self.cancel.cancel();
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn ended(self, seconds: u64) -> SessionEnd {
        within(seconds, self.task).await.unwrap()
    }
}

pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .expect("in time")
}

/// Asks until it is so, for 10 s at most.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The reason in the status's `ErrorInfo`.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "turbopanel.dev");
    info.reason.clone()
}
