//! The server: one port for agents, for callers over gRPC and for callers over frames.
//!
//! ```text
//!  listener ─▶ doors ─┬─ gRPC ──────────────▶ calls ─┬─▶ own services
//!                     ├─ /client/connect ─▶ callers ─┤─▶ the integrated agent, in process
//!                     ├─ /agent/connect ──▶ agents   └─▶ Remote ── frames ──▶ an agent
//!                     └─ /healthz
//! ```

mod agents;
mod answers;
mod callers;
mod calls;
mod config;
mod doors;
mod error;
mod integrated;
mod listener;
mod live;
mod own;
mod proof;
mod reach;
mod refusals;
mod stop;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Request;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body};
use tower::service_fn;
use turbopanel_tunnel::{Caller, Instance, Methods, PlaneHello, Server, Settings, Target};

pub use config::{DEFAULT_PORT, ServeConfig};
pub use error::ServeError;

use crate::{
    proto::FILE_DESCRIPTOR_SET,
    registry::{Refusal, Registry},
    services::error::CallError,
    store::{Closing, TokenKind},
};
use calls::Calls;
use doors::{Doors, Greeting, Limits};
use integrated::Integrated;

/// The file in the data directory that holds the administrator's token.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// How often it is written who is here.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How often agents tell how they are, in seconds.
const HEARTBEAT: u32 = 30;

/// A control plane whose port is bound and whose state is open; [`Plane::serve`] runs it.
#[derive(Debug)]
pub struct Plane {
    config: ServeConfig,
    address: SocketAddr,
    listener: TcpListener,
    registry: Arc<Registry>,
    closing: Closing,
    integrated: Option<Integrated>,
}

impl Plane {
    /// Opens the state, binds the port and makes sure that there is an administrator's token.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        if let Some(url) = &config.public_url
            && let Err(error) = Target::parse(url)
        {
            return Err(ServeError::PublicUrl(error.to_string()));
        }
        let integrated = match config.integrated_agent {
            true => Some(Integrated::start(&config).await?),
            false => None,
        };
        let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET)
            .map_err(|error| ServeError::Methods(error.to_string()))?;
        let local = integrated.as_ref().map(Integrated::record);
        let opened = Registry::open(&config.data_dir, methods, local).await;
        let (registry, closing) = opened?;
        let registry = Arc::new(registry);
        let failed = |source| ServeError::Bind {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let file = admin_token_file(&config.data_dir);
        let made = registry.ensure_admin_file(&file).await;
        if made.map_err(ServeError::AdminToken)? {
            tracing::info!(file = %file.display(), "an administrator's token was made");
        }
        Ok(Self {
            config,
            address,
            listener,
            registry,
            closing,
            integrated,
        })
    }

    /// The address that is listened on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that holds the administrator's token.
    pub fn admin_token_file(&self) -> PathBuf {
        admin_token_file(&self.config.data_dir)
    }

    /// Serves until `shutdown` is cancelled, then drains within the grace period.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self {
            config,
            address,
            listener,
            registry,
            closing,
            integrated,
        } = self;
        let doors = open(&config, address, &registry, integrated).await?;
        tracing::info!(
            %address,
            data_dir = %config.data_dir.display(),
            agents = registry.agents.all().len(),
            "the control plane is ready"
        );
        if !address.ip().is_loopback() {
            tracing::warn!(
                "other machines reach this port without encryption: put a TLS proxy in front of it where others share the network"
            );
        }
        let connections = TaskTracker::new();
        let accepting = listener::accept(
            listener,
            config.max_connections,
            Arc::clone(&doors),
            connections.clone(),
        );
        doors.links.spawn({
            let (live, withdrawn) = (Arc::clone(&doors.calls.live), registry.withdrawn());
            let stopped = doors.stopped.clone();
            async move { stopped.run_until_cancelled(live.watch(withdrawn)).await }
        });
        let saving = async {
            loop {
                tokio::time::sleep(SAVE_EVERY).await;
                registry.save_uses().await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = accepting => {}
            () = saving => {}
        }
        stop::stop(doors, connections, registry, closing).await;
        Ok(())
    }
}

/// Where the control plane with the state in `data_dir` keeps the administrator's token.
pub fn admin_token_file(data_dir: &Path) -> PathBuf {
    data_dir.join(ADMIN_TOKEN_FILE)
}

/// Binds and serves: [`Plane::bind`], then [`Plane::serve`].
pub async fn run(config: ServeConfig, shutdown: CancellationToken) -> Result<(), ServeError> {
    Plane::bind(config).await?.serve(shutdown).await
}

async fn open(
    config: &ServeConfig,
    address: SocketAddr,
    registry: &Arc<Registry>,
    integrated: Option<Integrated>,
) -> Result<Arc<Doors>, ServeError> {
    let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET)
        .map_err(|error| ServeError::Methods(error.to_string()))?;
    let reach = reach::reach(config.public_url.as_deref(), address);
    let instance = Instance::random();
    let calls = Arc::new(Calls {
        registry: Arc::clone(registry),
        own: own::routes(registry, reach).await?,
        integrated,
        methods: methods.clone(),
        live: Arc::default(),
    });
    let served = |local| {
        let calls = Arc::clone(&calls);
        let service = service_fn(move |request| over_frames(Arc::clone(&calls), request, local));
        Server::new(service, methods.clone(), Settings::default())
    };
    let frames = served(false);
    let local = calls.integrated.as_ref().map(|_| served(true));
    Ok(Arc::new(Doors {
        registry: Arc::clone(registry),
        calls,
        frames,
        local,
        greeting: Greeting(PlaneHello {
            name: config.name.clone(),
            instance,
            authorities: Vec::new(),
            heartbeat_seconds: HEARTBEAT,
            // 0 would leave it to the agents.
            redial_spread_ms: u32::try_from(config.redial_spread.as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
            verify: Arc::new(proof::verify),
        }),
        instance,
        links: TaskTracker::new(),
        stopping: CancellationToken::new(),
        stopped: CancellationToken::new(),
        grace: config.grace,
        limits: Limits::default(),
    }))
}

/// A call over frames: its caller was let in when its link was opened, and may be revoked since.
async fn over_frames(
    calls: Arc<Calls>,
    request: Request<Body>,
    local: bool,
) -> Result<http::Response<Body>, std::convert::Infallible> {
    let refused = || Status::from(CallError::from(Refusal::Missing)).into_http();
    let caller = request.extensions().get::<Caller>();
    let token = caller.and_then(|caller| calls.registry.tokens.find(&caller.0));
    Ok(match token {
        Some(token) if token.kind != TokenKind::Admin => refused(),
        Some(token) if local => calls.answer_locally(request, token).await,
        Some(token) => calls.answer(request, Some(token)).await,
        None => refused(),
    })
}
