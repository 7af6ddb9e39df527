//! Stops a control plane in order: takes nothing new, lets what changes something end by itself within the
//! grace, and ends the rest with a status.
//!
//! ```text
//!  0 s     reads end, agents hear goodbye, callers of agents over frames dial elsewhere or later
//!  grace   what still runs ends with CONTROL_PLANE_STOPPING
//!  then    the integrated agent stops, links close, the state is written
//! ```

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{config::GRACE, doors::Doors};
use crate::{registry::Registry, store};

/// A moment for the last statuses to be written.
const BREATH: Duration = Duration::from_millis(200);
/// How long all may take that comes after the calls.
const CLOSING: Duration = Duration::from_secs(2);
/// How long the store may take to close.
const SAVING: Duration = Duration::from_millis(300);

// `docker stop` kills after 10 s.
const _: () = assert!(
    GRACE.as_millis() + BREATH.as_millis() + CLOSING.as_millis() + SAVING.as_millis() <= 9500
);

/// Stops. Nothing of it holds the store any more in the end, unless time ran out.
pub(super) async fn stop(
    doors: Arc<Doors>,
    connections: TaskTracker,
    registry: Arc<Registry>,
    store: store::Closing,
) {
    let grace = doors.grace;
    tracing::info!(?grace, "the control plane stops");
    doors.stopping.cancel();
    connections.close();
    let live = &doors.calls.live;
    live.end_reads();
    if let Some(integrated) = &doors.calls.integrated {
        integrated.drain();
    }
    let drained = timeout(grace, drain(&doors, &connections)).await.is_ok();
    live.stop();
    let _ = timeout(BREATH, drain(&doors, &connections)).await;
    let closed = timeout(CLOSING, close(&doors, &connections)).await.is_ok();
    let saved = timeout(SAVING, async {
        registry.save_uses().await;
        drop(doors);
        drop(registry);
        // Tasks that did not end in time may still hold it.
        store.closed().await;
    });
    let saved = saved.await.is_ok();
    tracing::info!(drained, closed, saved, "the control plane has stopped");
}

/// Waits for the calls, for the connections of those who make them, and for operations.
async fn drain(doors: &Doors, connections: &TaskTracker) {
    let local = async {
        if let Some(local) = &doors.local {
            local.shutdown(Duration::MAX).await;
        }
    };
    let operations = async {
        if let Some(integrated) = &doors.calls.integrated {
            integrated.idle().await;
        }
    };
    tokio::join!(
        connections.wait(),
        doors.frames.shutdown(Duration::MAX),
        local,
        operations
    );
}

async fn close(doors: &Doors, connections: &TaskTracker) {
    doors.stopped.cancel();
    doors.links.close();
    let integrated = async {
        if let Some(integrated) = &doors.calls.integrated {
            integrated.stop().await;
        }
    };
    tokio::join!(connections.wait(), doors.links.wait(), integrated);
}
