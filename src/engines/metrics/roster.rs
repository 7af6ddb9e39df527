//! Which containers run, and where the figures of each are.
//!
//! The folder of cgroups tells at each sample whether others run than before. The engine is asked for their names
//! only then, now and then, and when a caller waits: a name may have changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};

use super::{ContainerRow, Source};
use crate::engines::{
    cgroup::{Group, Tree, Trouble},
    docker::{Engine, EngineAddress, Error, names::ContainerRef},
    host::{
        Cpu, DeviceIo, HostRoot, MISSING, Missing, Usage,
        kept::{Kept, read_once},
        parse,
        text::lossy,
    },
};

/// How old a list may be while nothing has changed that can be seen ...
const OLD: Duration = Duration::from_secs(300);
/// ... and how old for a caller who waits.
const OLD_FOR_CALLERS: Duration = Duration::from_secs(30);
/// How long the engine may take while nobody waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions to the engine at once, at most.
const AT_ONCE: usize = 8;
/// Containers whose files are kept open, at most: each has nine.
const KEPT: usize = 128;
/// Containers that are told, at most.
const MOST: usize = 4096;

/// For whom containers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// For the history; the engine is asked for figures only where somebody wants them.
    History { engine: bool },
    /// For a caller who waits.
    Caller,
}

/// The containers that run.
#[derive(Debug)]
pub(super) struct Roster {
    engine: Engine,
    root: HostRoot,
    tree: Option<Tree>,
    stat: Kept,
    entries: BTreeMap<String, Entry>,
    /// The ids in the folder of cgroups, at the last list.
    folder: Option<Vec<String>>,
    listed: Option<Instant>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// None: only the engine has its figures.
    group: Option<Group>,
}

impl Roster {
    pub(super) fn new(engine: Engine, root: HostRoot) -> Self {
        // The cgroups of this host are nothing to an engine on another one.
        let here = matches!(engine.address(), EngineAddress::Unix(_));
        Self {
            tree: here.then(|| Tree::find(&root)).flatten(),
            stat: Kept::open(root.proc("stat")).in_one_piece(),
            engine,
            root,
            entries: BTreeMap::new(),
            folder: None,
            listed: None,
            buffer: Vec::new(),
        }
    }

    /// Closes all files; the next reading finds them again.
    pub(super) fn rest(&mut self) {
        self.entries.clear();
        self.listed = None;
        self.buffer = Vec::new();
    }

    /// Reads what the containers use. An error only when nothing is known of them.
    pub(super) async fn read(
        &mut self,
        whom: For,
        memory: Option<u64>,
        missing: &mut Vec<Missing>,
    ) -> Result<Vec<ContainerRow>, Error> {
        if let Err(error) = self.refresh(whom).await {
            if self.entries.is_empty() {
                return Err(error);
            }
            tell(missing, self.engine.address().to_string(), &error);
        }
        let mut rows = Vec::with_capacity(self.entries.len());
        let gone = self.read_files(whom, None, &mut rows, missing).await;
        if !gone.is_empty() {
            // Ended, or started again: then its files are others now.
            self.entries.retain(|id, _| !gone.contains(id));
            self.listed = None;
            match self.refresh(whom).await {
                Ok(()) => {
                    self.read_files(whom, Some(&gone), &mut rows, missing).await;
                }
                Err(error) => tell(missing, self.engine.address().to_string(), &error),
            }
        }
        if whom != (For::History { engine: false }) {
            self.ask(memory, &mut rows, missing).await;
        }
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        name_devices(&self.root, &mut rows);
        Ok(rows)
    }

    /// Reads the files of all, or only of these. Answers the ids of those that have none any more.
    async fn read_files(
        &mut self,
        whom: For,
        only: Option<&[String]>,
        rows: &mut Vec<ContainerRow>,
        missing: &mut Vec<Missing>,
    ) -> Vec<String> {
        let (host, cpus) = self.processors();
        let mut gone = Vec::new();
        for (index, (id, entry)) in self.entries.iter_mut().enumerate() {
            // Others get a turn where there are very many.
            if index % 64 == 63 {
                tokio::task::yield_now().await;
            }
            let Some(group) = &mut entry.group else {
                continue;
            };
            if only.is_some_and(|only| !only.contains(id)) {
                continue;
            }
            let mut devices = Vec::new();
            let wanted = (whom == For::Caller).then_some(&mut devices);
            match group.read(&mut self.buffer, wanted, missing) {
                Ok(mut usage) => {
                    usage.host_cpu = host.as_engine();
                    usage.host_cpus = cpus;
                    rows.push(row(id, &entry.name, Source::Cgroup, usage, devices));
                }
                Err(Trouble::Gone) => gone.push(id.clone()),
            }
        }
        gone
    }

    /// Asks the engine about those without files.
    async fn ask(
        &self,
        memory: Option<u64>,
        rows: &mut Vec<ContainerRow>,
        missing: &mut Vec<Missing>,
    ) {
        let engine = &self.engine;
        let without = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.group.is_none());
        let asked: Vec<_> = without
            .map(|(id, entry)| (id.clone(), Arc::clone(&entry.name)))
            .collect();
        let mut answers = stream::iter(asked)
            .map(|(id, name)| async move {
                let container = id.parse::<ContainerRef>().ok();
                let answer = match &container {
                    Some(container) => engine.usage(container).await,
                    None => Err(Error::Protocol("an id that is none".to_owned())),
                };
                (id, name, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((id, name, answer)) = answers.next().await {
            match answer {
                Ok((mut usage, devices)) => {
                    // Without a limit the engine says what the host has.
                    usage.memory_limit = usage
                        .memory_limit
                        .filter(|limit| memory.is_none_or(|memory| *limit < memory));
                    rows.push(row(&id, &name, Source::Engine, usage, devices));
                }
                Err(Error::ContainerNotFound { .. }) => {}
                Err(error) => tell(missing, name.to_string(), &error),
            }
        }
    }

    fn processors(&mut self) -> (Cpu, Option<u64>) {
        let text = self.stat.read(&mut self.buffer).unwrap_or_default();
        let (all, cores) = parse::stat(text);
        let cpus = u64::try_from(cores.len()).ok();
        (all, cpus.filter(|cpus| *cpus > 0))
    }

    /// Asks the engine which containers run, if that may have changed.
    async fn refresh(&mut self, whom: For) -> Result<(), Error> {
        let folder = self.tree.as_ref().and_then(Tree::running);
        let most = match whom {
            For::Caller => OLD_FOR_CALLERS,
            For::History { .. } => OLD,
        };
        let fresh = self.listed.is_some_and(|listed| listed.elapsed() < most);
        if fresh && folder == self.folder {
            return Ok(());
        }
        let away = |cause: &str| Error::Unreachable {
            address: self.engine.address().to_string(),
            cause: cause.to_owned(),
        };
        let list = match whom {
            For::Caller => self.list().await,
            // Nobody waits: an engine that is away is not asked again for this.
            For::History { .. } if !self.engine.known().borrow().reachable => {
                Err(away("it did not when it was last asked"))
            }
            For::History { .. } => timeout(PATIENCE, self.list())
                .await
                .unwrap_or_else(|_| Err(away("it said nothing for 5 s"))),
        };
        let (names, new) = list?;
        self.entries.retain(|id, _| names.contains_key(id));
        for (id, group) in new {
            if let Some(name) = names.get(&id) {
                let name = Arc::clone(name);
                self.entries.insert(id, Entry { name, group });
            }
        }
        for (id, entry) in &mut self.entries {
            if let Some(name) = names.get(id)
                && entry.name != *name
            {
                entry.name = Arc::clone(name);
            }
        }
        self.folder = folder;
        self.listed = Some(Instant::now());
        Ok(())
    }

    /// The names of all that run, and the files of those that are new.
    async fn list(
        &self,
    ) -> Result<(BTreeMap<String, Arc<str>>, Vec<(String, Option<Group>)>), Error> {
        let running = self.engine.running().await?.into_iter().take(MOST);
        let names: BTreeMap<String, Arc<str>> =
            running.map(|(id, name)| (id, name.into())).collect();
        let mut room = KEPT.saturating_sub(self.entries.len());
        let mut new = Vec::new();
        for id in names.keys().filter(|id| !self.entries.contains_key(*id)) {
            new.push((id.clone(), room > 0));
            room = room.saturating_sub(1);
        }
        let new = stream::iter(new)
            .map(|(id, keep)| async move {
                let group = self.group(&id, keep).await;
                (id, group)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        Ok((names, new))
    }

    async fn group(&self, id: &str, keep: bool) -> Option<Group> {
        let tree = self.tree.as_ref()?;
        let container: ContainerRef = id.parse().ok()?;
        // Without an answer there are figures, but for the network.
        let first = self.engine.first_process(&container).await.ok();
        let pid = first.and_then(|first| first.pid);
        let place = tree
            .usual(id)
            .or_else(|| tree.of_process(&self.root, pid?, id))?;
        let visible = |pid: &u32| self.runs_in(*pid, id);
        let own = first.is_some_and(|first| !first.host_network);
        let network = pid.filter(|pid| own && visible(pid));
        Some(Group::new(tree, &place, &self.root, network, keep))
    }

    /// Whether the process of this number, as the agent sees it, is the container's: without the host's processes
    /// it may be another one, or none.
    fn runs_in(&self, pid: u32, id: &str) -> bool {
        let text = read_once(self.root.proc(&format!("{pid}/cgroup")));
        text.is_ok_and(|text| String::from_utf8_lossy(&text).contains(id))
    }
}

fn row(
    id: &str,
    name: &Arc<str>,
    source: Source,
    usage: Usage,
    devices: Vec<DeviceIo>,
) -> ContainerRow {
    ContainerRow {
        id: id.into(),
        name: Arc::clone(name),
        source,
        usage,
        devices,
    }
}

/// Names the devices as the kernel does: most containers use the same few.
fn name_devices(root: &HostRoot, rows: &mut [ContainerRow]) {
    let mut names = HashMap::new();
    for device in rows.iter_mut().flat_map(|row| &mut row.devices) {
        let (major, minor) = device.number;
        let name = names.entry(device.number).or_insert_with(|| {
            let link = root.sys(&format!("dev/block/{major}:{minor}"));
            let place = std::fs::read_link(link).unwrap_or_default();
            let name = place.file_name().unwrap_or_default();
            lossy(name.as_encoded_bytes(), 64)
        });
        device.name.clone_from(name);
    }
}

fn tell(missing: &mut Vec<Missing>, source: String, error: &Error) {
    if missing.len() < MISSING {
        missing.push(Missing {
            source,
            reason: error.to_string(),
        });
    }
}
