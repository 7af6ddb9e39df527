//! Tells when the engine has written to a log.
//!
//! ```text
//!  followed logs ── Subscription ──> Instance (one inotify descriptor) <── one task reads its events
//! ```
//! A user may have few inotify descriptors and many logs to follow, so that all logs of an engine share one. It is
//! there while something is followed. Without one (the limit is reached, or no /proc) logs are looked at
//! by the clock.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::{io::unix::AsyncFd, sync::Notify, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::file::Folder;

/// A log that nothing tells of is looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// Also one that is told of, in case that was wrong.
const SELDOM: Duration = Duration::from_secs(10);
/// Events are taken so often at most: an engine writes every line by itself.
const PACE: Duration = Duration::from_millis(2);
/// Room for events.
const EVENTS: usize = 16 << 10;

/// Where an engine's logs are subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    instance: Mutex<Weak<Instance>>,
}

#[derive(Debug)]
struct Instance {
    inotify: Arc<AsyncFd<OwnedFd>>,
    folders: Arc<Folders>,
    _task: DropGuard,
}

/// Who is told of what happens in which folder, by inotify's number for it.
#[derive(Debug, Default)]
struct Folders(Mutex<HashMap<i32, Vec<Arc<Notify>>>>);

/// Tells of one folder.
#[derive(Debug)]
pub(super) struct Subscription {
    told: Arc<Notify>,
    /// None when nothing tells.
    watch: Option<(Arc<Instance>, i32)>,
}

impl Watches {
    /// Subscribes to what happens in a folder.
    pub(super) fn subscribe(&self, folder: &Folder, tasks: &TaskTracker) -> Subscription {
        let told = Arc::new(Notify::new());
        let watch = self.watch(folder, &told, tasks);
        if let Err(error) = &watch {
            tracing::debug!(%error, "a log is followed by the clock: the kernel does not tell of its folder");
        }
        Subscription {
            told,
            watch: watch.ok(),
        }
    }

    fn watch(
        &self,
        folder: &Folder,
        told: &Arc<Notify>,
        tasks: &TaskTracker,
    ) -> io::Result<(Arc<Instance>, i32)> {
        let mut known = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = match known.upgrade() {
            Some(instance) => instance,
            None => {
                let instance = Arc::new(Instance::start(tasks)?);
                *known = Arc::downgrade(&instance);
                instance
            }
        };
        drop(known);
        let number = instance.folders.add(&instance.inotify, folder, told)?;
        Ok((instance, number))
    }
}

impl Instance {
    fn start(tasks: &TaskTracker) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Deprecated for types whose descriptor may be closed by others; an OwnedFd is its owner's.
        #[allow(deprecated)]
        let inotify = Arc::new(AsyncFd::new(inotify)?);
        let folders = Arc::<Folders>::default();
        let stop = CancellationToken::new();
        let telling = tell(Arc::clone(&inotify), Arc::clone(&folders));
        tasks.spawn(stop.clone().run_until_cancelled_owned(telling));
        Ok(Self {
            inotify,
            folders,
            _task: stop.drop_guard(),
        })
    }
}

impl Folders {
    fn add(
        &self,
        inotify: &AsyncFd<OwnedFd>,
        folder: &Folder,
        told: &Arc<Notify>,
    ) -> io::Result<i32> {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // By its descriptor: its name may be another one's by now.
        let path = format!("/proc/self/fd/{}", folder.fd.as_raw_fd());
        let flags =
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
        let number = inotify::add_watch(inotify, path, flags)?;
        folders.entry(number).or_default().push(Arc::clone(told));
        Ok(number)
    }

    fn remove(&self, inotify: &AsyncFd<OwnedFd>, number: i32, told: &Arc<Notify>) {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscribed) = folders.get_mut(&number) {
            subscribed.retain(|other| !Arc::ptr_eq(other, told));
            if subscribed.is_empty() {
                folders.remove(&number);
                // Fails when the folder is gone.
                let _ = inotify::remove_watch(inotify, number);
            }
        }
    }

    /// Tells of all folders, or of one.
    fn tell(&self, number: Option<i32>) {
        let folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = number.is_none();
        let one = number.and_then(|number| folders.get(&number));
        let every = folders.values().filter(|_| all);
        for told in one.into_iter().chain(every).flatten() {
            told.notify_one();
        }
    }
}

/// Passes events on, until nobody subscribes any more.
async fn tell(inotify: Arc<AsyncFd<OwnedFd>>, folders: Arc<Folders>) {
    let mut room = vec![MaybeUninit::uninit(); EVENTS];
    loop {
        let Ok(mut ready) = inotify.readable().await else {
            return;
        };
        let mut last = None;
        let mut events = inotify::Reader::new(&*inotify, &mut room);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    folders.tell(None)
                }
                Ok(event) => {
                    // Many in a row are of one log.
                    if last.replace(event.wd()) != Some(event.wd()) {
                        folders.tell(Some(event.wd()));
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        ready.clear_ready();
        sleep(PACE).await;
    }
}

impl Subscription {
    /// Waits until something may have happened. Cancel-safe.
    pub(super) async fn told(&self) {
        let pause = if self.watch.is_some() { SELDOM } else { LOOK };
        tokio::select! {
            biased;
            () = self.told.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some((instance, number)) = &self.watch {
            instance
                .folders
                .remove(&instance.inotify, *number, &self.told);
        }
    }
}
