//! The operations: their turn, what compose says of them, and how they end.

use std::{
    future::pending,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::sleep};
use tonic::Status;

use crate::{
    engines::stacks::{
        StackError, Stacks, files::Files, folder::Project, names::StackName, said::Said,
    },
    operations::Reporter,
    proto::{OperationResult, OutputStream},
    services::error,
};

/// What compose calls a change that was made.
const CHANGES: [&str; 10] = [
    "Created",
    "Started",
    "Recreated",
    "Restarted",
    "Stopped",
    "Killed",
    "Removed",
    "Built",
    "Pulled",
    "Renamed",
];
/// Warnings that are kept, at most.
const MOST_WARNINGS: usize = 64;

/// What is done to a stack.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) stacks: Stacks,
    pub(super) stack: StackName,
    pub(super) command: Vec<String>,
    pub(super) files: Needs,
    /// How long services may be waited for.
    pub(super) patience: Option<Duration>,
}

/// The files that it needs.
#[derive(Debug)]
pub(super) enum Needs {
    /// None: labels do.
    Nothing {
        /// It is an error when there is no container.
        containers: bool,
        /// The files that are kept are forgotten afterwards.
        forget: bool,
    },
    /// Those that were sent, else those of the stack.
    Files {
        /// What was sent.
        sent: Option<Files>,
        /// They are kept.
        keep: bool,
    },
}

impl Work {
    /// Does it.
    pub(super) async fn run(self, reporter: Reporter) -> Result<OperationResult, Status> {
        let stack = self.stack.clone();
        let done = self.done(reporter).await;
        done.map_err(|failed| error::stack(&stack, failed))
    }

    async fn done(self, reporter: Reporter) -> Result<OperationResult, StackError> {
        let Self {
            stacks,
            stack,
            command,
            files,
            patience,
        } = self;
        let cancel = reporter.cancelled();
        let _turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(StackError::Cancelled),
            turn = stacks.turn(&stack) => turn,
        };
        let heard = Heard {
            reporter,
            warnings: Mutex::default(),
            changed: AtomicBool::new(false),
            waiting: Notify::new(),
        };
        let mut forgotten = false;
        let project: Option<Project> = match files {
            Needs::Nothing { containers, forget } => {
                if containers && !stacks.has_containers(&stack).await? {
                    return Err(StackError::NotFound(stack));
                }
                forgotten = forget;
                None
            }
            Needs::Files { sent, keep } => {
                let to_keep = sent.clone().filter(|_| keep);
                let project = stacks.project(&stack, sent).await?;
                let checked = stacks.check(&stack, &project, true, &cancel).await?;
                for warning in checked.warnings {
                    heard.warn(warning);
                }
                match to_keep {
                    Some(files) => Some(stacks.keep(&stack, files).await?),
                    None => Some(project),
                }
            }
        };
        let told = |said| heard.hear(said);
        let ending = cancel.child_token();
        {
            let running = stacks.run(&stack, project.as_ref(), command, &ending, told);
            let mut running = std::pin::pin!(running);
            tokio::select! {
                biased;
                done = &mut running => done?,
                // Compose's own time limit ends well when it is over.
                patience = heard.impatient(patience) => {
                    ending.cancel();
                    let ended = running.await;
                    if matches!(ended, Err(StackError::Cancelled)) && !cancel.is_cancelled() {
                        return Err(StackError::NotReady(patience));
                    }
                    ended?;
                }
            }
        }
        if forgotten {
            stacks.forget(&stack).await?;
        }
        Ok(OperationResult {
            unchanged: !heard.changed.into_inner(),
            warnings: heard
                .warnings
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            ..OperationResult::default()
        })
    }
}

/// What was heard of compose, as the operation tells it.
struct Heard {
    reporter: Reporter,
    warnings: Mutex<Vec<String>>,
    changed: AtomicBool,
    /// Compose has begun to wait for a service.
    waiting: Notify,
}

impl Heard {
    fn hear(&self, said: Said) {
        match said {
            Said::Progress {
                item,
                status,
                current,
                total,
            } => {
                if CHANGES.contains(&status.as_str()) {
                    self.changed.store(true, Ordering::Relaxed);
                }
                if status == "Waiting" {
                    self.waiting.notify_one();
                }
                self.reporter.progress(&item, &status, current, total);
            }
            Said::Warning(warning) => self.warn(warning),
            Said::Printed(bytes) => self.reporter.output(OutputStream::Stderr, bytes),
            Said::Error(words) => {
                let words = Bytes::from(format!("{words}\n"));
                self.reporter.output(OutputStream::Stderr, words);
            }
        }
    }

    /// Returns when services have been waited for too long.
    async fn impatient(&self, patience: Option<Duration>) -> Duration {
        match patience {
            Some(patience) => {
                self.waiting.notified().await;
                sleep(patience).await;
                patience
            }
            None => pending().await,
        }
    }

    fn warn(&self, warning: String) {
        let warnings = self.warnings.lock();
        let mut warnings = warnings.unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}
