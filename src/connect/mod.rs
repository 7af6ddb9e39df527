//! The connection to the control plane: its state, and the loop that keeps it up.

mod websocket;

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use turbopanel_tunnel::{CloseCode, DialError, EndReason, Outcome, Redial, Server, SessionEnd};

use crate::{
    agent::Agent,
    excerpt::{SENTENCE, VALUE, excerpt},
};
pub use websocket::WebSocket;

/// What the agent knows of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// What it does now.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// What the control plane calls the agent. None until it has said so.
    pub name: Option<String>,
    /// Where it dials, without secrets. Empty when integrated.
    pub url: String,
    /// How often it has connected.
    pub connects: u64,
    /// Why the last connection or dial ended. Empty when none has.
    pub last_error: String,
    /// Neither encrypted nor on this machine.
    pub insecure: bool,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Dials.
    Connecting,
    /// Is there.
    Connected,
    /// Waits before the next dial.
    Waiting,
    /// None is needed.
    Integrated,
}

impl Connection {
    /// Of an agent that is about to dial.
    pub fn to(url: String, insecure: bool) -> Self {
        Self {
            state: State::Connecting,
            since: SystemTime::now(),
            name: None,
            url,
            connects: 0,
            last_error: String::new(),
            insecure,
        }
    }

    /// Of an agent inside a control plane.
    pub fn integrated() -> Self {
        Self {
            state: State::Integrated,
            ..Self::to(String::new(), false)
        }
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.since = SystemTime::now();
        }
    }
}

/// How one attempt ended.
enum Attempt {
    Refused(DialError),
    Ended(SessionEnd),
}

/// Keeps the connection up until it is told to stop. It never gives up.
pub async fn keep_connected(
    agent: &Agent,
    connector: WebSocket,
    server: &Server,
    stop: &CancellationToken,
) {
    let seed = agent.instance();
    let (seed, _) = seed.as_bytes().split_at(8);
    let seed = seed
        .iter()
        .fold(0, |seed: u64, byte| seed << 8 | u64::from(*byte));
    let mut redial = Redial::new(seed);
    let mut dial = 0;
    while !stop.is_cancelled() {
        dial += 1;
        agent
            .connection()
            .send_modify(|connection| connection.enter(State::Connecting));
        let Some(attempt) = connector.attempt(agent, server, dial, stop).await else {
            return;
        };
        if stop.is_cancelled() {
            return;
        }
        let outcome = match &attempt {
            Attempt::Refused(error) => Outcome::of_dial(error),
            Attempt::Ended(end) => Outcome::of_session(end),
        };
        let wait = redial.after(outcome);
        let reason = tell(&attempt, &connector, wait, &redial);
        agent.connection().send_modify(|connection| {
            connection.enter(State::Waiting);
            connection.last_error = reason;
        });
        let _ = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

/// One line: what was tried, what came back, what to do. Answers what came back.
fn tell(attempt: &Attempt, connector: &WebSocket, wait: Duration, redial: &Redial) -> String {
    let url = connector.url();
    let retry_ms = wait.as_millis() as u64;
    let (what, reason, mend) = match attempt {
        Attempt::Refused(error) => ("no connection", error.to_string(), dial_mend(error)),
        Attempt::Ended(end) => {
            let what = if end.welcomed {
                "the connection ended"
            } else {
                "no connection"
            };
            let mend = session_mend(&end.reason);
            (what, end.to_string(), mend.unwrap_or_default().to_owned())
        }
    };
    let reason = excerpt(&reason, SENTENCE);
    let mend = if mend.is_empty() {
        mend
    } else {
        format!("; {mend}")
    };
    if redial.is_new_step() {
        tracing::warn!(%url, retry_ms, "{what}: {reason}{mend}");
    } else {
        tracing::debug!(%url, retry_ms, "{what}: {reason}{mend}");
    }
    reason
}

fn dial_mend(error: &DialError) -> String {
    let mode = error.refusal().and_then(|refusal| refusal.mode.as_deref());
    match mode.filter(|mode| *mode != "websocket") {
        Some(mode) => {
            let mode = excerpt(mode, VALUE);
            format!("set AGENT_MODE={mode}: that is this control plane's mode")
        }
        None => error.mend().to_owned(),
    }
}

/// What to do when the control plane closed, if it is for somebody to do something.
fn session_mend(reason: &EndReason) -> Option<&'static str> {
    let EndReason::ClosedByPeer { code, .. } = reason else {
        return None;
    };
    match code {
        CloseCode::Unauthenticated => Some(
            "check the token, and that CONTROL_PLANE_URL is an address that the control plane goes by",
        ),
        CloseCode::Revoked => Some("the token or the agent was revoked; create a new token"),
        CloseCode::TooLate => {
            Some("the agent's greeting came too late; check the network and this machine's load")
        }
        CloseCode::Superseded => {
            Some("another agent uses this identity; give each agent a token of its own")
        }
        CloseCode::WrongProtocol => Some(
            "this version and the control plane's speak different protocols; update the older one",
        ),
        CloseCode::Overloaded => {
            Some("the control plane has too much to do; it is tried again later")
        }
        CloseCode::Done | CloseCode::GoingAway | CloseCode::Protocol | CloseCode::Other(_) => None,
    }
}
