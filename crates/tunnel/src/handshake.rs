//! The greeting of an agent's connection: `Challenge`, `Hello`, `Welcome`, each within 10 s.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    SUBPROTOCOL,
    agent::SessionEnd,
    ending::{CloseCode, Closing, EndReason},
    frames::{OutFrame, RawPacket, encode},
    link::say_goodbye,
    proto::{Challenge, Hello, Welcome, frame::Kind},
    socket::{Instance, Socket},
};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(10);

/// Proves who an agent is.
pub trait Signer: Send + Sync {
    /// The Ed25519 public key (RFC 8032), 32 bytes.
    fn public_key(&self) -> Vec<u8>;
    /// The signature over [`signed_bytes`].
    fn sign(&self, bytes: &[u8]) -> Vec<u8>;
}

/// Decides whether an agent is who it says, by its greeting and the bytes that its signature covers.
pub type Verify = Arc<dyn Fn(&Hello, &[u8]) -> Result<(), String> + Send + Sync>;

/// How a control plane greets agents.
#[derive(Clone)]
pub struct PlaneHello {
    /// The control plane's name, for people.
    pub name: String,
    /// The control plane's instance, new at every start.
    pub instance: Instance,
    /// The names (authorities) that the control plane goes by. Empty: not known, nothing is compared.
    pub authorities: Vec<String>,
    /// Seconds between two heartbeats; 0: none are wanted.
    pub heartbeat_seconds: u32,
    /// Agents dial again within this many milliseconds after a healthy connection.
    pub redial_spread_ms: u32,
    /// Accepts or refuses a greeting.
    pub verify: Verify,
}

/// An agent's connection after its greeting.
#[derive(Debug)]
pub struct Greeted {
    pub(crate) socket: Socket,
    /// What the agent said of itself.
    pub hello: Hello,
}

/// The bytes that an agent's signature covers: each field with its length before it as four bytes, big endian.
pub fn signed_bytes(nonce: &[u8], hello: &Hello) -> Vec<u8> {
    let dial = hello.dial.to_be_bytes();
    let fields: [&[u8]; 6] = [
        SUBPROTOCOL.as_bytes(),
        nonce,
        hello.agent.as_bytes(),
        &hello.instance,
        &dial,
        hello.authority.as_bytes(),
    ];
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u32).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// The control plane's part: challenges an agent, checks its greeting, and welcomes it under this name.
pub async fn greet_agent(
    mut socket: Socket,
    plane: &PlaneHello,
    agent: &str,
) -> Result<Greeted, SessionEnd> {
    let began = std::time::Instant::now();
    match greet(&mut socket, plane, agent).await {
        Ok(hello) => Ok(Greeted { socket, hello }),
        Err(reason) => {
            if let EndReason::ClosedHere { code, reason } = &reason {
                say_goodbye(&mut socket, Closing::new(*code, reason.clone())).await;
            }
            Err(SessionEnd::new(reason, began.elapsed()))
        }
    }
}

async fn greet(socket: &mut Socket, plane: &PlaneHello, agent: &str) -> Result<Hello, EndReason> {
    let mut nonce = Vec::with_capacity(32);
    nonce.extend_from_slice(Instance::random().as_bytes());
    nonce.extend_from_slice(Instance::random().as_bytes());
    let challenge = Challenge {
        nonce: nonce.clone().into(),
        authorities: plane.authorities.clone(),
    };
    let closed = |code, reason: String| EndReason::ClosedHere { code, reason };
    send(socket, Kind::Challenge(challenge)).await?;
    let hello = match receive(socket).await {
        Ok(Kind::Hello(hello)) => hello,
        Ok(_) => {
            return Err(closed(
                CloseCode::Protocol,
                "the first frame is not a Hello".to_owned(),
            ));
        }
        Err(EndReason::GreetingTooLate) => {
            return Err(closed(
                CloseCode::TooLate,
                "the Hello did not come within 10 s".to_owned(),
            ));
        }
        Err(reason) => return Err(reason),
    };
    if Instance::from_bytes(&hello.instance).is_none() {
        return Err(closed(
            CloseCode::Protocol,
            "the instance is not 16 bytes".to_owned(),
        ));
    }
    if !plane.authorities.is_empty() && !plane.authorities.contains(&hello.authority) {
        let known = plane.authorities.join(", ");
        return Err(closed(
            CloseCode::Unauthenticated,
            format!(
                "the agent dialled {}, but this control plane is {known}",
                hello.authority
            ),
        ));
    }
    (plane.verify)(&hello, &signed_bytes(&nonce, &hello))
        .map_err(|reason| closed(CloseCode::Unauthenticated, reason))?;
    let welcome = Welcome {
        control_plane: plane.name.clone(),
        instance: Bytes::copy_from_slice(plane.instance.as_bytes()),
        agent: agent.to_owned(),
        heartbeat_seconds: plane.heartbeat_seconds,
        log_level: String::new(),
        redial_spread_ms: plane.redial_spread_ms,
    };
    send(socket, Kind::Welcome(welcome)).await?;
    Ok(hello)
}

/// The agent's part: answers the challenge and waits for the welcome.
pub(crate) async fn introduce(
    socket: &mut Socket,
    mut hello: Hello,
    signer: Option<&dyn Signer>,
) -> Result<Welcome, EndReason> {
    let unexpected = |what: &str| EndReason::Violation(format!("expected {what}"));
    let Kind::Challenge(challenge) = receive(socket).await? else {
        return Err(unexpected("a Challenge first"));
    };
    if !challenge.authorities.is_empty() && !challenge.authorities.contains(&hello.authority) {
        let known = challenge.authorities.join(", ");
        return Err(EndReason::Violation(format!(
            "dialled {}, but the control plane says it is {known}; correct CONTROL_PLANE_URL",
            hello.authority
        )));
    }
    if let Some(signer) = signer {
        hello.public_key = signer.public_key().into();
        hello.signature = signer.sign(&signed_bytes(&challenge.nonce, &hello)).into();
    }
    send(socket, Kind::Hello(hello)).await?;
    match receive(socket).await? {
        Kind::Welcome(welcome) => Ok(welcome),
        Kind::Goodbye(goodbye) => Err(EndReason::Cut(goodbye.reason)),
        _ => Err(unexpected("a Welcome")),
    }
}

async fn send(socket: &mut Socket, kind: Kind) -> Result<(), EndReason> {
    let packet = encode(0, &[OutFrame::new(0, kind)]);
    match timeout(STEP, socket.ws.send(Message::Binary(packet))).await {
        Ok(sent) => sent.map_err(|error| EndReason::Cut(error.to_string())),
        Err(_) => Err(EndReason::GreetingTooLate),
    }
}

/// Waits for the next frame of the connection, which is alone in its packet.
async fn receive(socket: &mut Socket) -> Result<Kind, EndReason> {
    let violation = |error: crate::frames::Malformed| EndReason::Violation(error.to_string());
    let next = async {
        loop {
            let message = match socket.ws.next().await {
                None => return Err(EndReason::Cut("end of stream".to_owned())),
                Some(Err(error)) => return Err(EndReason::Cut(error.to_string())),
                Some(Ok(message)) => message,
            };
            match message {
                Message::Binary(bytes) => {
                    let mut packet = RawPacket::parse(bytes).map_err(violation)?;
                    while let Some(frame) = packet.next_frame().map_err(violation)? {
                        if frame.stream == 0
                            && let Some(kind) = frame.decode().map_err(violation)?
                        {
                            return Ok(kind);
                        }
                    }
                }
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    });
                    let code = CloseCode::from(code);
                    return Err(EndReason::ClosedByPeer { code, reason });
                }
                _ => {}
            }
        }
    };
    timeout(STEP, next)
        .await
        .unwrap_or(Err(EndReason::GreetingTooLate))
}
