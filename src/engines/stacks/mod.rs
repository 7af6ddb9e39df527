//! Stacks: compose projects, by the labels of their containers and by Docker's compose plugin.
//!
//! ```text
//!  files of a call ──▶ Files ──▶ Folder ──▶ Project ──▶ Run ──▶ docker-compose ──▶ Said
//!  labels of containers ──▶ Listed ──▶ host ──┘            └── error ──▶ Mistake (file, line)
//! ```

pub mod compose;
pub mod config;
pub mod files;
pub mod folder;
mod host;
mod laid;
pub mod listed;
pub mod mistake;
pub mod names;
pub mod plugin;
pub mod said;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::docker::{self, Engine};
use compose::{Run, RunError};
use files::Files;
use folder::{Folder, Project};
pub use host::NotUsed;
use listed::{Listed, Member};
use mistake::Mistake;
use names::StackName;
use plugin::{Finder, Unavailable};
use said::{Lines, Said};

/// A configuration, at most.
const LONGEST_CONFIG: usize = 16 << 20;
/// What is told of a configuration that is longer.
const TOO_LONG: &str = "the configuration is longer than 16 MiB";
/// Warnings that are kept, at most.
const MOST_WARNINGS: usize = 64;

/// What can go wrong with a stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Compose is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] docker::Error),
    /// It was asked to end.
    #[error("it was cancelled")]
    Cancelled,
    /// Its services were waited for too long.
    #[error("the services are not ready after {} s: see their logs and health checks, or allow more time", .0.as_secs())]
    NotReady(Duration),
    /// There is nothing of it.
    #[error(
        "there is no stack {0}: list the stacks to see their names, or bring it up with its files"
    )]
    NotFound(StackName),
    /// Its files are needed and not known.
    #[error("the files of stack {stack} are not known{}: send them with the call", why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    FilesMissing {
        /// The stack.
        stack: StackName,
        /// Why the host's are not used.
        why: Option<NotUsed>,
    },
    /// They are wrong.
    #[error("{}{}", place(.0), .0.message)]
    Mistake(Mistake),
    /// They cannot be kept.
    #[error("{} cannot be written: {source}; make room or let the agent's user write there (AGENT_STATE_DIR)", path.display())]
    NotWritable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Compose failed.
    #[error("{0}")]
    Run(#[source] RunError),
}

fn place(mistake: &Mistake) -> String {
    match (mistake.file.as_str(), mistake.line) {
        ("", _) => String::new(),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}, line {line}: "),
    }
}

/// The stacks of one engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stacks {
    engine: Engine,
    finder: Finder,
    /// None: no files can be kept.
    folder: Option<Folder>,
    turns: Arc<Mutex<HashMap<StackName, Weak<Turn<()>>>>>,
}

/// What compose made of a stack's files.
#[derive(Debug)]
pub struct Checked {
    /// In its canonical form.
    pub config: Value,
    /// What it warned of.
    pub warnings: Vec<String>,
}

impl Stacks {
    /// The stacks of this engine; files are kept below this directory.
    pub fn new(engine: Engine, finder: Finder, state_dir: Option<&Path>) -> Self {
        Self {
            engine,
            finder,
            folder: state_dir.map(Folder::open),
            turns: Arc::default(),
        }
    }

    /// Whether there is a compose plugin.
    pub fn is_available(&self) -> bool {
        self.finder.is_there()
    }

    /// Every stack that has containers or kept files, by name, and whether it has kept files.
    pub async fn all(&self) -> Result<Vec<(StackName, Option<Listed>, bool)>, docker::Error> {
        let listed = listed::all(&self.engine).await?;
        let mut all: BTreeMap<_, _> = listed
            .into_iter()
            .map(|listed| (listed.name.clone(), (Some(listed), false)))
            .collect();
        if let Some(folder) = self.folder.clone() {
            let kept = spawn_blocking(move || folder.names()).await;
            for name in kept.unwrap_or_default() {
                all.entry(name).or_default().1 = true;
            }
        }
        let all = all.into_iter();
        Ok(all
            .map(|(name, (listed, kept))| (name, listed, kept))
            .collect())
    }

    /// The containers of a stack, in no order.
    pub async fn members(&self, stack: &StackName) -> Result<Vec<Member>, docker::Error> {
        listed::members(&self.engine, stack).await
    }

    /// Waits until nothing else is done to the stack. Others wait while this is held.
    pub async fn turn(&self, stack: &StackName) -> OwnedMutexGuard<()> {
        let turn = {
            let turns = self.turns.lock();
            let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(stack).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(Turn::new(()));
                turns.insert(stack.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    /// The files that were sent, laid out to be looked at; without any, those of the stack.
    pub async fn project(
        &self,
        stack: &StackName,
        sent: Option<Files>,
    ) -> Result<Project, StackError> {
        match sent {
            Some(files) => self.with_folder(move |folder| folder.draft(&files)).await,
            None => self.own(stack).await,
        }
    }

    /// The files of a stack that is there: what its newest container was made of, or what is kept, if that is newer.
    async fn own(&self, stack: &StackName) -> Result<Project, StackError> {
        let listed = listed::one(&self.engine, stack).await?;
        let kept_at = self
            .folder
            .as_ref()
            .and_then(|folder| folder.kept_at(stack));
        let directory = self.folder.as_ref().map(|folder| folder.directory(stack));
        let by_hand = listed.map(|listed| listed.source).filter(|source| {
            directory.is_none_or(|directory| directory != Path::new(&source.working_dir))
        });
        let missing = |why| StackError::FilesMissing {
            stack: stack.clone(),
            why,
        };
        let why = match by_hand {
            Some(source) if kept_at.is_none_or(|kept| kept < source.created) => {
                match host::project(&self.engine, source).await {
                    Ok(project) => return Ok(project),
                    Err(why) => Some(why),
                }
            }
            _ => None,
        };
        if kept_at.is_none() {
            return Err(missing(why));
        }
        let name = stack.clone();
        let laid = self.with_folder(move |folder| match folder.kept(&name)? {
            Some(files) => folder.lay_out(&name, &files, None).map(Some),
            None => Ok(None),
        });
        laid.await?.ok_or_else(|| missing(why))
    }

    /// Keeps the files, and lays them out where the stack's containers find them.
    pub async fn keep(&self, stack: &StackName, files: Files) -> Result<Project, StackError> {
        let stack = stack.clone();
        self.with_folder(move |folder| {
            // What cannot be read any more is replaced.
            let before = folder.kept(&stack).unwrap_or_default();
            folder.keep(&stack, &files)?;
            folder.lay_out(&stack, &files, before.as_ref())
        })
        .await
    }

    /// Forgets the files that are kept.
    pub async fn forget(&self, stack: &StackName) -> Result<(), StackError> {
        let stack = stack.clone();
        self.with_folder(move |folder| folder.forget(&stack)).await
    }

    async fn with_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StackError> {
        let Some(folder) = self.folder.clone() else {
            let path = PathBuf::from("AGENT_STATE_DIR");
            let source = io::Error::other("the agent has no directory for its state");
            return Err(StackError::NotWritable { path, source });
        };
        let path = folder.path().to_owned();
        let done = spawn_blocking(move || work(&folder)).await;
        let done = done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        done.map_err(|source| StackError::NotWritable { path, source })
    }

    /// Whether a stack has containers.
    pub async fn has_containers(&self, stack: &StackName) -> Result<bool, StackError> {
        Ok(!self.members(stack).await?.is_empty())
    }

    /// A configuration of a project as a text, with the stack's own directory where a draft's was.
    pub fn shown(&self, stack: &StackName, project: &Project, config: &Value) -> String {
        let text = format!("{config:#}");
        match &self.folder {
            Some(folder) => {
                let own = folder.directory(stack);
                let (draft, own) = (project.directory.to_string_lossy(), own.to_string_lossy());
                text.replace(&*draft, &own)
            }
            None => text,
        }
    }

    /// Has compose read a project's files. `interpolated` says whether variables are replaced by their values.
    pub async fn check(
        &self,
        stack: &StackName,
        project: &Project,
        interpolated: bool,
        cancel: &CancellationToken,
    ) -> Result<Checked, StackError> {
        let mut command = vec!["config", "--format", "json"];
        if !interpolated {
            command.push("--no-interpolate");
        }
        let run = Run {
            plugin: self.finder.find().await?,
            engine: self.engine.address(),
            stack,
            project: Some(project),
            command: command.into_iter().map(str::to_owned).collect(),
        };
        let (mut warnings, mut content) = (Vec::new(), Vec::new());
        let told = |said| {
            if let Said::Warning(warning) = said
                && warnings.len() < MOST_WARNINGS
            {
                warnings.push(project.hide(&warning));
            }
        };
        let printed = |bytes: Bytes| {
            if content.len() <= LONGEST_CONFIG {
                content.extend_from_slice(&bytes);
            }
        };
        match run.to_end(cancel, told, printed).await {
            Ok(()) => {}
            Err(RunError::Cancelled) => return Err(StackError::Cancelled),
            Err(RunError::Failed { message, .. }) => {
                return Err(self.mistake(&message, project).await);
            }
            Err(error) => return Err(StackError::Run(error)),
        }
        let odd = |message: &str| {
            let message = message.to_owned();
            StackError::Run(RunError::Failed { message, code: 0 })
        };
        if content.len() > LONGEST_CONFIG {
            return Err(odd(TOO_LONG));
        }
        let config = serde_json::from_slice(&content);
        let config = config.map_err(|_| odd("compose printed a configuration that is no JSON"))?;
        Ok(Checked { config, warnings })
    }

    async fn mistake(&self, message: &str, project: &Project) -> StackError {
        let (message, sources) = (project.hide(message), project.sources());
        let finding = spawn_blocking(move || Mistake::find(&message, &sources));
        match finding.await {
            Ok(mistake) => StackError::Mistake(mistake),
            Err(stopped) => StackError::Run(RunError::Lost(io::Error::other(stopped))),
        }
    }

    /// Runs a command of compose to its end. `told` hears what it says.
    pub async fn run(
        &self,
        stack: &StackName,
        project: Option<&Project>,
        command: Vec<String>,
        cancel: &CancellationToken,
        told: impl Fn(Said),
    ) -> Result<(), StackError> {
        let run = Run {
            plugin: self.finder.find().await?,
            engine: self.engine.address(),
            stack,
            project,
            command,
        };
        let hide = |text: &str| match project {
            Some(project) => project.hide(text),
            None => text.to_owned(),
        };
        let tell = |said| {
            told(match said {
                Said::Progress {
                    item,
                    status,
                    current,
                    total,
                } => Said::Progress {
                    item,
                    status: hide(&status),
                    current,
                    total,
                },
                Said::Printed(bytes) => match std::str::from_utf8(&bytes) {
                    Ok(text) => Said::Printed(hide(text).into()),
                    Err(_) => Said::Printed(bytes),
                },
                Said::Warning(text) => Said::Warning(hide(&text)),
                Said::Error(text) => Said::Error(hide(&text)),
            });
        };
        // Builds tell how they get on there.
        let mut lines = Lines::default();
        let printed = |bytes: Bytes| lines.take(&bytes).into_iter().for_each(&tell);
        let ended = run.to_end(cancel, &tell, printed).await;
        lines.end().into_iter().for_each(&tell);
        match ended {
            Ok(()) => Ok(()),
            Err(RunError::Cancelled) => Err(StackError::Cancelled),
            Err(RunError::Failed { message, code }) => {
                let message = hide(&message);
                Err(StackError::Run(RunError::Failed { message, code }))
            }
            Err(error) => Err(StackError::Run(error)),
        }
    }
}
