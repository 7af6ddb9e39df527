//! Starts the parts of an agent in order, and stops them in order.

use std::{future::Future, io, time::Duration};

use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{Server, Settings};

use crate::{
    agent::Agent,
    config::Config,
    connect::{Connection, WebSocket, keep_connected},
    engines::host,
    router::{self, Auth, local},
};

/// How long calls that change something may go on when the agent stops.
const GRACE: Duration = Duration::from_secs(6);
/// How long the others may then take to be told.
const LAST_WORDS: Duration = Duration::from_millis(700);
/// How long the connection may take to close, ...
const CLOSING: Duration = Duration::from_secs(1);
/// ... tasks that do not end, ...
const CUTTING_OFF: Duration = Duration::from_millis(500);
/// ... and commands in containers to be killed that lost their caller.
const KILLING: Duration = Duration::from_secs(1);

// `docker stop` kills after 10 s.
const _: () = assert!(
    GRACE.as_millis()
        + LAST_WORDS.as_millis()
        + CLOSING.as_millis()
        + CUTTING_OFF.as_millis()
        + KILLING.as_millis()
        <= 9500
);

/// Why an agent ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The own port cannot be opened.
    #[error(
        "port {port} cannot be opened: {source}; set AGENT_PORT to a free port, or map another one (-p 18285:18284)"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The own port broke.
    #[error("the agent's port broke: {0}")]
    Serving(#[from] io::Error),
}

/// Runs an agent until `shutdown` says so.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let port = config.port;
    let listener = local::bind(port, config.token.is_some())
        .map_err(|source| RunError::Port { port, source })?;
    let address = listener.local_addr()?;
    let name = config
        .name
        .clone()
        .unwrap_or_else(|| host::hostname(&config.host_root));
    let connection = Connection::to(config.control_plane.to_string(), config.insecure);
    let agent = Agent::new(
        name,
        "websocket",
        config.engine,
        config.host_root,
        connection,
        Some(config.state_dir),
    );
    let router = router::build(&agent).await;
    let stop = CancellationToken::new();
    let serving = local::serve(
        listener,
        &agent,
        router.clone(),
        Auth::new(config.token.as_ref()),
    );
    let serving = agent.tasks().spawn(serving);
    tracing::info!(%address, name = agent.name(), version = crate::VERSION, "serving");
    if config.token.is_none() {
        tracing::warn!(
            "AGENT_TOKEN is not set: the agent's port answers this machine only, and the control plane will refuse the agent if it asks for a token"
        );
    }
    if config.insecure {
        tracing::warn!(url = %config.control_plane, "the connection to the control plane is not encrypted; use https:// where others share the network");
    }

    let server = Server::new(router, Agent::methods(), Settings::default());
    let connector = WebSocket::new(&config.control_plane, config.token, config.name);
    let ended = {
        let connecting = keep_connected(&agent, connector, &server, &stop);
        tokio::pin!(connecting, shutdown);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            biased;
            () = &mut shutdown => {
                tracing::info!("stopping");
                // The connection stays up while the calls on it end.
                let draining = async {
                    agent.draining().cancel();
                    tokio::join!(
                        server.shutdown(GRACE + LAST_WORDS),
                        tokio::time::timeout(GRACE + LAST_WORDS, &mut serving),
                        tokio::time::timeout(GRACE, agent.operations().idle()),
                    )
                };
                let grace = async {
                    tokio::time::sleep(GRACE).await;
                    agent.stop().cancel();
                    std::future::pending::<()>().await
                };
                tokio::select! {
                    biased;
                    _ = draining => {}
                    () = &mut connecting => {}
                    () = grace => {}
                }
                agent.stop().cancel();
                stop.cancel();
                let _ = tokio::time::timeout(CLOSING, connecting).await;
                Ok(())
            }
            ended = &mut serving => match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(io::Error::other(error).into()),
            },
            () = &mut connecting => Ok(()),
        }
    };
    agent.stop().cancel();
    stop.cancel();
    agent.tasks().close();
    if tokio::time::timeout(CUTTING_OFF, agent.tasks().wait())
        .await
        .is_err()
    {
        tracing::warn!("some calls had to be cut off");
    }
    // Commands in containers that lost their caller are being killed.
    let _ = tokio::time::timeout(KILLING, agent.engine().drained()).await;
    tracing::info!("stopped");
    ended
}
