//! Space on file systems. A network mount whose server is gone holds whoever asks for as long as it likes: a
//! thread asks, and it is not waited for. A mount that holds its thread is not asked again before it answers.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

use super::{figures::Space, mounts::Mount, root::HostRoot};

/// How long all file systems may take that answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that are held at once, at most. Then no file system is asked before one of them answers.
const HELD: usize = 4;
/// A thread's stack: it calls the kernel, and nothing else.
const STACK: usize = 64 * 1024;

/// What is wrong with a file system that has no figures.
pub(crate) const NO_ANSWER: &str =
    "it does not answer; its server or disk may be away, and it is asked again when it is back";
const NOT_HERE: &str =
    "the agent does not see it; mount the host's root with `-v /:/host:ro,rslave`";

/// Asks file systems for their space.
#[derive(Debug, Default)]
pub(crate) struct SpaceReader {
    /// Mounts that hold a thread.
    held: Arc<Mutex<Vec<PathBuf>>>,
}

type Answer = (usize, Result<Space, String>);

impl SpaceReader {
    /// The space of each of these mounts, in their order.
    pub(crate) async fn read(
        &self,
        root: &HostRoot,
        mounts: &[Mount],
    ) -> Vec<Result<Space, String>> {
        let mut answers = vec![Err(NO_ANSWER.to_owned()); mounts.len()];
        let held = self.held.lock().map(|held| held.clone());
        let held = held.unwrap_or_default();
        if held.len() >= HELD || mounts.is_empty() {
            return answers;
        }
        let asked: Vec<(usize, Mount, PathBuf)> = mounts
            .iter()
            .enumerate()
            .filter(|(_, mount)| !held.contains(&mount.point))
            .map(|(index, mount)| (index, mount.clone(), root.path(&mount.point)))
            .collect();
        let (send, mut receive) = mpsc::channel(mounts.len());
        let current = Arc::new(Mutex::new(None));
        let (watched, elsewhere) = (Arc::clone(&current), root.is_elsewhere());
        let held = Arc::clone(&self.held);
        let started = thread::Builder::new()
            .name("file systems".to_owned())
            .stack_size(STACK)
            .spawn(move || ask(asked, elsewhere, &watched, &held, &send));
        if let Err(error) = started {
            answers.fill(Err(format!(
                "no thread could be started to ask it: {error}"
            )));
            return answers;
        }
        let all = async {
            while let Some((index, answer)) = receive.recv().await {
                if let Some(place) = answers.get_mut(index) {
                    *place = answer;
                }
            }
        };
        if timeout(PATIENCE, all).await.is_err()
            && let Some(mount) = current.lock().ok().and_then(|current| current.clone())
        {
            self.hold(mount);
        }
        answers
    }

    fn hold(&self, mount: PathBuf) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::warn!(mount = %mount.display(), "a file system does not answer; it is left out until it does");
        held.push(mount);
    }
}

/// Runs on the thread, which may be held at each mount for ever.
fn ask(
    mounts: Vec<(usize, Mount, PathBuf)>,
    elsewhere: bool,
    current: &Mutex<Option<PathBuf>>,
    held: &Mutex<Vec<PathBuf>>,
    answers: &mpsc::Sender<Answer>,
) {
    let at = |mount: Option<PathBuf>| {
        *current.lock().unwrap_or_else(PoisonError::into_inner) = mount;
    };
    for (index, mount, path) in mounts {
        at(Some(mount.point.clone()));
        let answer = space(&mount, &path, elsewhere);
        at(None);
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.len();
        held.retain(|point| *point != mount.point);
        let was_held = held.len() < before;
        drop(held);
        // Whoever asked has gone on without the answers that were to come.
        if was_held || answers.try_send((index, answer)).is_err() {
            return;
        }
    }
}

fn space(mount: &Mount, path: &std::path::Path, elsewhere: bool) -> Result<Space, String> {
    let told = |error: rustix::io::Errno| std::io::Error::from(error).to_string();
    if elsewhere {
        // Mounts that came after the agent's container are not in it unless they are passed on: then the folder
        // lies on another file system, whose figures are not these.
        let there = rustix::fs::stat(path).map_err(told)?;
        if !mount.holds(there.st_dev) {
            return Err(NOT_HERE.to_owned());
        }
    }
    let found = rustix::fs::statvfs(path).map_err(told)?;
    let bytes = |blocks: u64| blocks.checked_mul(found.f_frsize);
    Ok(Space {
        size: bytes(found.f_blocks),
        free: bytes(found.f_bfree),
        available: bytes(found.f_bavail),
        // Some have no limit and say 0.
        inodes: (found.f_files > 0).then_some(found.f_files),
        inodes_free: (found.f_files > 0).then_some(found.f_ffree),
    })
}
