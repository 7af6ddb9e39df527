//! A caller's own link to a control plane: dialled in the background, and again after every cut.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    Channel, DialError, DialHeaders, FIRST_WINDOW, MAX_WINDOW, Methods, Outcome, Redial,
    SessionEnd, Target,
    channel::Inner,
    dial::dial,
    error::status,
    frames::RawPacket,
    link::{Side, drive},
    outbox::Outbox,
    presence::Presence,
    proto::{TunnelErrorReason, frame::Kind},
    socket::{Instance, Socket},
};

/// People wait for a caller: it comes back sooner than an agent after a connection that was of use.
const AFTER_A_CUT: Duration = Duration::from_millis(100);
/// And tries more often where nobody asked it to wait.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

/// Reaches whom the target names (`…/client/connect?agent=NAME`, or the control plane itself without a
/// name). The link is kept up while a clone of the channel, or a call on it, lives.
pub fn connect_caller(target: Target, headers: DialHeaders, methods: Methods) -> Channel {
    let windows = (FIRST_WINDOW, MAX_WINDOW);
    let channel = Channel::new(methods, windows, false, Presence::away(""));
    let inner = Arc::clone(&channel.inner);
    let dropped = inner.dropped.clone();
    channel.inner.tasks.spawn(async move {
        let keeping = keep_linked(inner, target, headers);
        let _ = dropped.run_until_cancelled(keeping).await;
    });
    channel
}

async fn keep_linked(inner: Arc<Inner>, target: Target, headers: DialHeaders) {
    let seed = Instance::random();
    let mut redial = Redial::new(seed.as_bytes().iter().fold(1, |sum, byte| {
        u64::from(*byte).wrapping_add(u64::wrapping_mul(sum, 257))
    }));
    loop {
        let wait = match dial(&target, &headers).await {
            Ok(socket) => {
                let (end, was_of_use) = run(&inner, socket).await;
                tracing::debug!(%end, "the connection to the control plane ended");
                inner.unlinked(None);
                match Outcome::of_session(&end) {
                    // A control plane that only accepts and closes sees backing off.
                    Outcome::Cut(_) | Outcome::Failed | Outcome::Healthy(_) if was_of_use => {
                        redial.after(Outcome::Healthy(AFTER_A_CUT))
                    }
                    outcome => wait(&mut redial, outcome),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the control plane was not reached");
                if let Some(status) = final_status(&error) {
                    inner.refuse(status);
                }
                wait(&mut redial, Outcome::of_dial(&error))
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn wait(redial: &mut Redial, outcome: Outcome) -> Duration {
    let wait = redial.after(outcome);
    match outcome {
        Outcome::Failed | Outcome::Cut(_) | Outcome::Healthy(_) => wait.min(AFTER_A_FAILURE),
        Outcome::Denied | Outcome::Superseded | Outcome::Asked(_) | Outcome::Goodbye { .. } => wait,
    }
}

/// Drives a link until it ends. Also tells whether it was of use: whether anything of a call came by it.
async fn run(inner: &Arc<Inner>, mut socket: Socket) -> (SessionEnd, bool) {
    let began = std::time::Instant::now();
    let outbox = Arc::new(Outbox::new());
    let cancel = CancellationToken::new();
    let mut was_of_use = false;
    let reason = drive(&mut socket, &outbox, Side::Dialled, &cancel, |packet| {
        was_of_use |= receive(inner, &outbox, packet)?;
        Ok(())
    })
    .await;
    (SessionEnd::new(reason, began.elapsed()), was_of_use)
}

fn receive(
    inner: &Arc<Inner>,
    outbox: &Arc<Outbox>,
    mut packet: RawPacket,
) -> Result<bool, String> {
    let mut of_calls = false;
    while let Some(frame) = packet.next_frame().map_err(|error| error.to_string())? {
        if frame.stream != 0 {
            of_calls = true;
            inner.receive(frame)?;
        } else if let Some(Kind::Presence(presence)) =
            frame.decode().map_err(|error| error.to_string())?
        {
            inner.linked(outbox, presence.into());
        }
    }
    Ok(of_calls)
}

/// The status of a refusal that dialling again does not mend.
fn final_status(error: &DialError) -> Option<Status> {
    let refusal = error.refusal()?;
    let code = match refusal.status {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        426 => Code::FailedPrecondition,
        _ => return None,
    };
    if let Some(status) = refusal.grpc_status.as_deref()
        && status.code() != Code::Ok
    {
        return Some(status.clone());
    }
    let message = if refusal.message.is_empty() {
        format!("{error}; {}", error.mend())
    } else {
        refusal.message.clone()
    };
    Some(status(
        code,
        TunnelErrorReason::ControlPlaneUnreachable,
        message,
        &[],
    ))
}
