//! One run of compose: started without a shell, in a process group of its own, with an environment made of
//! nothing, and ended with everything that it started.

use std::{os::unix::process::ExitStatusExt, path::PathBuf, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    folder::Project,
    names::StackName,
    said::{Lines, Said},
};
use crate::engines::{
    docker::{EngineAddress, Signal},
    process::{self, Printed, ProcessError, ProcessRequest},
};

/// After it was asked to end, so long it may take to leave things in order.
const ENDING: Duration = Duration::from_secs(10);
/// Bytes of its last words that are kept for the error.
const LAST_WORDS: usize = 2048;
/// What it is told by variables. Includes from elsewhere would run other programs, and fetch what nobody sent.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("COMPOSE_MENU", "false"),
    ("COMPOSE_STATUS_STDOUT", "false"),
    ("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "false"),
    ("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "false"),
    ("DOCKER_CLI_HINTS", "false"),
];

/// What compose is to do.
#[derive(Debug)]
pub struct Run<'a> {
    /// The plugin.
    pub plugin: PathBuf,
    /// The engine that it works on.
    pub engine: &'a EngineAddress,
    /// Whose stack.
    pub stack: &'a StackName,
    /// With these files; none: by the labels of what there is.
    pub project: Option<&'a Project>,
    /// The command and its options.
    pub command: Vec<String>,
}

/// How it ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not started.
    #[error(transparent)]
    Start(#[from] ProcessError),
    /// Its output could not be read, or its end not be seen.
    #[error("compose could not be followed: {0}")]
    Lost(#[from] std::io::Error),
    /// It was asked to end.
    #[error("compose was ended")]
    Cancelled,
    /// It failed.
    #[error("{message}")]
    Failed {
        /// Its own words.
        message: String,
        /// Its exit code; 128 and more after a signal.
        code: i32,
    },
}

impl Run<'_> {
    fn request(self) -> ProcessRequest {
        let mut arguments: Vec<String> =
            ["--ansi", "never", "--progress", "json", "--project-name"]
                .map(str::to_owned)
                .into();
        arguments.push(self.stack.to_string());
        let mut environment: Vec<(String, String)> = ENVIRONMENT
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        environment.push(("DOCKER_HOST".to_owned(), self.engine.to_string()));
        let directory = match self.project {
            Some(project) => {
                let option = |name: &str, path: PathBuf| {
                    [name.to_owned(), path.to_string_lossy().into_owned()]
                };
                let directory = &project.directory;
                arguments.extend(option("--project-directory", directory.clone()));
                for file in &project.roles.compose {
                    arguments.extend(option("--file", directory.join(file)));
                }
                for file in &project.roles.env {
                    arguments.extend(option("--env-file", directory.join(file)));
                }
                for profile in &project.roles.profiles {
                    arguments.extend(["--profile".to_owned(), profile.clone()]);
                }
                directory.clone()
            }
            None => {
                // What happens to lie in a directory is not the stack's.
                environment.push(("COMPOSE_DISABLE_ENV_FILE".to_owned(), "true".to_owned()));
                PathBuf::from("/")
            }
        };
        arguments.extend(self.command);
        ProcessRequest {
            program: self.plugin.to_string_lossy().into_owned(),
            arguments,
            environment,
            working_dir: Some(directory),
            user: None,
        }
    }

    /// Runs it to its end. `told` hears what it says, but for what it prints on standard output, which `printed` does.
    /// Dropping this kills it with everything that it started.
    pub async fn to_end(
        self,
        cancel: &CancellationToken,
        mut told: impl FnMut(Said),
        mut printed: impl FnMut(Bytes),
    ) -> Result<(), RunError> {
        let process = process::start(self.request()).await?;
        let (mut output, mut group) = (process.output, process.group);
        drop(process.input);
        let mut lines = Lines::default();
        let (mut error, mut last_words) = (None, Vec::new());
        let mut hear = |said: Said| {
            match &said {
                Said::Error(words) => {
                    error = Some(words.clone());
                    return;
                }
                Said::Printed(words) => {
                    last_words.extend_from_slice(words);
                    let over = last_words.len().saturating_sub(LAST_WORDS);
                    last_words.drain(..over);
                }
                Said::Progress { .. } | Said::Warning(_) => {}
            }
            told(said);
        };
        {
            let mut following = std::pin::pin!(async {
                while let Some(piece) = output.next().await? {
                    match piece {
                        Printed::Stdout(bytes) => printed(bytes),
                        Printed::Stderr(bytes) => {
                            lines.take(&bytes).into_iter().for_each(&mut hear)
                        }
                    }
                }
                lines.end().into_iter().for_each(&mut hear);
                Ok::<_, std::io::Error>(())
            });
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    group.signal(Signal::TERM);
                    let ending = async {
                        let _ = following.await;
                        let _ = group.wait().await;
                    };
                    // What is not over by then is killed as it is dropped.
                    let _ = timeout(ENDING, ending).await;
                    return Err(RunError::Cancelled);
                }
                followed = &mut following => followed?,
            }
        }
        let ended = group.wait().await?;
        group.kill_rest();
        if ended.success() {
            return Ok(());
        }
        let code = ended
            .code()
            .unwrap_or_else(|| 128 + ended.signal().unwrap_or_default());
        let message = error.unwrap_or_else(|| {
            let words = String::from_utf8_lossy(&last_words).trim().to_owned();
            if words.is_empty() {
                format!("it ended with {ended}")
            } else {
                words
            }
        });
        Err(RunError::Failed { message, code })
    }
}
