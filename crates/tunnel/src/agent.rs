//! An agent's session: the greeting, then calls, until the link ends.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    Server,
    ending::{CloseCode, EndReason},
    frames::OutFrame,
    handshake::{Signer, introduce},
    link::{Side, drive},
    outbox::Outbox,
    proto::{Heartbeat, Hello, Welcome, frame::Kind},
    socket::{Instance, Socket},
};

/// What an agent says of itself at each connection.
#[derive(Clone)]
pub struct AgentHello {
    /// The name that the operator gave it. Empty: the token says which agent it is.
    pub agent: Option<String>,
    /// Names this run of the process.
    pub instance: Instance,
    /// 1 at the first connection, one more at each further one.
    pub dial: u64,
    /// As in semver.org.
    pub version: String,
    /// The host's ceiling for control planes.
    pub policy: String,
    /// What it can do on this host.
    pub capabilities: Vec<String>,
    /// The authority (host and port) that was dialled.
    pub authority: String,
    /// Proves who it is.
    pub signer: Option<Arc<dyn Signer>>,
    /// What a heartbeat says.
    pub heartbeat: Option<Arc<dyn Fn() -> Heartbeat + Send + Sync>>,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why.
    pub reason: EndReason,
    /// How long it lived.
    pub lived: Duration,
    /// It got as far as the welcome.
    pub welcomed: bool,
    /// The control plane asked to wait so long before the next dial.
    pub redial_after: Option<Duration>,
    /// The control plane asked to spread redials over this time.
    pub redial_spread: Option<Duration>,
}

impl SessionEnd {
    pub(crate) fn new(reason: EndReason, lived: Duration) -> Self {
        Self {
            reason,
            lived,
            welcomed: true,
            redial_after: None,
            redial_spread: None,
        }
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

/// Serves calls on a connection that the agent has dialled, until it ends. `welcomed` hears the
/// control plane's welcome. Calls that run go on in `server`, for the next session to attach.
pub async fn agent_session(
    mut socket: Socket,
    agent: AgentHello,
    server: &Server,
    welcomed: impl FnOnce(&Welcome),
    cancel: CancellationToken,
) -> SessionEnd {
    let began = Instant::now();
    let hello = Hello {
        agent: agent.agent.unwrap_or_default(),
        instance: agent.instance.as_bytes().to_vec().into(),
        dial: agent.dial,
        version: agent.version,
        authority: agent.authority,
        policy: agent.policy,
        capabilities: agent.capabilities,
        window: server.inner.settings.first_window,
        ..Hello::default()
    };
    let introduced = cancel
        .run_until_cancelled(introduce(&mut socket, hello, agent.signer.as_deref()))
        .await
        .unwrap_or_else(|| Err(EndReason::Cut("stopping".to_owned())));
    let welcome = match introduced {
        Ok(welcome) => welcome,
        Err(reason) => {
            return SessionEnd {
                welcomed: false,
                ..SessionEnd::new(reason, began.elapsed())
            };
        }
    };
    server.welcomed_by(&welcome.instance);
    welcomed(&welcome);

    let outbox = Arc::new(Outbox::new());
    let mut calls = server.attach(Arc::clone(&outbox), None);
    calls.expect_instance(agent.instance);
    let mut redial_after = None;
    let beating = beat(&outbox, welcome.heartbeat_seconds, agent.heartbeat);
    let driving = drive(&mut socket, &outbox, Side::Dialled, &cancel, |packet| {
        if let Some(goodbye) = calls.receive(packet)? {
            tracing::info!(reason = goodbye.reason, "the control plane says goodbye");
            redial_after = Some(Duration::from_millis(goodbye.redial_after_ms.into()));
        }
        Ok(())
    });
    let reason = tokio::select! {
        biased;
        reason = driving => reason,
        never = beating => match never {},
    };
    if matches!(&reason, EndReason::ClosedByPeer { code, .. } if *code == CloseCode::Revoked) {
        // Nobody may go on with what runs.
        server.inner.table.cancel_all();
    }
    SessionEnd {
        redial_after,
        redial_spread: (welcome.redial_spread_ms > 0)
            .then(|| Duration::from_millis(welcome.redial_spread_ms.into())),
        ..SessionEnd::new(reason, began.elapsed())
    }
}

async fn beat(
    outbox: &Outbox,
    seconds: u32,
    heartbeat: Option<Arc<dyn Fn() -> Heartbeat + Send + Sync>>,
) -> std::convert::Infallible {
    let Some(heartbeat) = heartbeat.filter(|_| seconds > 0) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        outbox.push_first(0, OutFrame::new(0, Kind::Heartbeat(heartbeat())));
    }
}
