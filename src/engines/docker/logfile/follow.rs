//! A log that is followed: what the engine writes next, where it goes on after a rotation, and when the container ends.
//!
//! ```text
//!  at the end of the live file ──┬─ another file is live ── read to the end once more ── its successors
//!                                ├─ it was cut ── from its beginning
//!                                └─ wait: written to · the container ended · the time is over · the engine is away
//! ```

use std::collections::VecDeque;

use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::{
    FileLogs,
    file::Folder,
    place::{Files, Successors},
    records::Source,
    unreadable,
    watch::Subscription,
};
use crate::engines::docker::{
    engine::Engine,
    error::{Error, Subject},
    logs::{GapCause, LogEnd},
    names::ContainerRef,
    status::Watch,
    stream::{Stream, StreamRequest},
};

/// A busy log is read so often.
const PACE: Duration = Duration::from_millis(10);
/// While nothing is at the live file's name, it is looked for so often.
const ABSENT: Duration = Duration::from_millis(20);
/// A log that was looked at this short a time ago has not been rotated twice.
const ATTENTIVE: Duration = Duration::from_millis(300);

/// What is known while a log is followed.
#[derive(Debug)]
pub(in crate::engines::docker) struct Follow {
    engine: Engine,
    subscription: Option<Subscription>,
    /// The engine answers this when the container has ended.
    running: Stream,
    over: Option<Over>,
    ends_at: Option<Instant>,
    status: Watch,
    /// The live file is another one, and all of this one was read.
    drained: bool,
    /// Since when it has not waited.
    awake: Option<Instant>,
    /// Something was read since the last pause.
    busy: bool,
}

/// Nothing more will be written.
#[derive(Debug)]
enum Over {
    Ended(LogEnd),
    Failed(Option<Error>),
}

impl Follow {
    /// Asks the engine to tell when the container ends.
    pub(in crate::engines::docker) async fn begin(
        engine: &Engine,
        id: &ContainerRef,
        ends_at: Option<Instant>,
    ) -> Result<Self, Error> {
        let path = format!("/containers/{id}/wait?condition=not-running");
        let running = Stream::open(
            engine.transport(),
            StreamRequest {
                method: "POST",
                path: &path,
                body: "",
                upgrade: false,
                subject: Subject::Container(id.as_str()),
                deadline: engine.deadlines().call,
            },
        );
        Ok(Self {
            engine: engine.clone(),
            subscription: None,
            running: running.await?,
            over: None,
            ends_at,
            status: engine.watch(),
            drained: false,
            awake: Some(Instant::now()),
            busy: false,
        })
    }

    pub(super) fn subscribe(&mut self, engine: &Engine, folder: &Folder) {
        let tasks = &engine.transport().tasks;
        self.subscription = Some(engine.log_files().watches.subscribe(folder, tasks));
    }

    /// Something was read.
    pub(super) fn read(&mut self) {
        self.busy = true;
    }

    /// Waits until there may be something to read. Cancel-safe.
    async fn wait(&mut self) {
        if self.busy {
            // What comes meanwhile is read at once.
            sleep(PACE).await;
            self.busy = false;
        }
        self.awake = None;
        let told = async {
            match &self.subscription {
                Some(subscription) => subscription.told().await,
                None => sleep(super::watch::LOOK).await,
            }
        };
        let late = async {
            match self.ends_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let away = async {
            loop {
                self.status.away().await;
                // One call in trouble is no proof.
                if let Err(error) = self.engine.transport().probe().await {
                    return error;
                }
            }
        };
        let over = tokio::select! {
            biased;
            ended = self.running.next() => Some(match ended {
                Ok(_) => Over::Ended(LogEnd::ContainerEnded),
                Err(error) => Over::Failed(Some(error)),
            }),
            () = late => Some(Over::Ended(LogEnd::Complete)),
            () = told => None,
            error = away => Some(Over::Failed(Some(error))),
        };
        if over.is_some() {
            self.over = over;
        }
        self.awake = Some(Instant::now());
    }
}

impl FileLogs {
    /// All of the live file was read: goes on where the engine goes on, or waits, or ends.
    pub(super) async fn wait(&mut self) -> Result<(), Error> {
        let Some(follow) = &mut self.follow else {
            return Ok(());
        };
        let Source::Plain { file, at, .. } = &mut self.records.source else {
            return Ok(());
        };
        let attentive = follow.awake.is_none_or(|awake| awake.elapsed() < ATTENTIVE);
        match self.place.live().map_err(|error| unreadable(&error))? {
            Some(live) if live == file.identity => {
                follow.drained = false;
                if file.size().map_err(|error| unreadable(&error))? < *at {
                    self.begin_again(attentive);
                    return Ok(());
                }
            }
            Some(_) if !follow.drained => {
                // What was written before the rotation is there by now.
                follow.drained = true;
                return Ok(());
            }
            Some(_) => return self.go_on(attentive).await,
            None => {
                if follow.over.is_none() {
                    sleep(ABSENT).await;
                }
            }
        }
        match &mut follow.over {
            None => {}
            Some(Over::Ended(end)) => {
                let end = *end;
                self.drop_rest();
                self.ended = Some(end);
                return Ok(());
            }
            Some(Over::Failed(error)) => {
                let address = follow.engine.address().to_string();
                let error = error.take();
                return Err(error.unwrap_or_else(|| Error::no_answer(&address, "it went away")));
            }
        }
        let before = Mark::set(file, *at).await;
        self.records.idle();
        follow.wait().await;
        let Source::Plain { file, at, .. } = &mut self.records.source else {
            return Ok(());
        };
        if before != Mark::set(file, *at).await {
            self.begin_again(true);
        }
        Ok(())
    }

    /// The file was cut, and is written from its beginning.
    fn begin_again(&mut self, attentive: bool) {
        self.drop_rest();
        if !attentive {
            self.miss(GapCause::Rotated, 0);
        }
        if let Source::Plain { at, .. } = &mut self.records.source {
            *at = 0;
        }
    }

    /// The engine has rotated its files.
    async fn go_on(&mut self, attentive: bool) -> Result<(), Error> {
        let Source::Plain { file, .. } = &mut self.records.source else {
            return Ok(());
        };
        let successors = self.place.successors(file).await;
        match successors.map_err(|error| unreadable(&error))? {
            Successors::None => {}
            Successors::NotYet => sleep(ABSENT).await,
            Successors::Follow { files, whole } => {
                // Of a log with one file alone nothing is left that could tell.
                let only = self.place.keeps_none() && files.older.is_empty() && attentive;
                if !whole && !only {
                    self.drop_rest();
                    self.miss(GapCause::Rotated, 0);
                }
                let Files { live, older } = files;
                let mut next = VecDeque::from([(Source::plain(live, 0, None), 0)]);
                for older in older {
                    next.push_front((older.source(), 0));
                }
                self.next = next;
                self.advance();
            }
        }
        if let Some(follow) = &mut self.follow {
            follow.drained = false;
        }
        Ok(())
    }
}

/// The bytes before a place: when they change, the file is not the one that was read.
#[derive(Debug, PartialEq, Eq)]
struct Mark([u8; 32], usize);

impl Mark {
    async fn set(file: &mut super::file::File, at: u64) -> Self {
        let mut bytes = [0; 32];
        let begin = at.saturating_sub(bytes.len() as u64);
        let most = usize::try_from(at - begin).unwrap_or_default();
        let room = bytes.get_mut(..most).unwrap_or_default();
        let read = if room.is_empty() {
            0
        } else {
            file.read_at(room, begin).await.unwrap_or_default()
        };
        Self(bytes, read)
    }
}
