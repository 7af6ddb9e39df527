//! A caller that follows a log and accounts for each line: it comes once, in its order, or a gap that was told holds it.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};
use tonic::Status;
use turbopanel_control_plane::proto::{
    FILE_DESCRIPTOR_SET,
    agent::{
        LogBatch, LogGap, StreamLogsRequest, log_service_client::LogServiceClient,
        log_source_end::Reason, stream_logs_response::Event,
    },
};
use turbopanel_tunnel::{Channel, DialHeaders, Methods, Target, connect_caller};

use crate::{numbers::PADDING, plane::reason};

/// A caller's link to this agent, by this URL.
pub fn caller(url: &str, token: &str, agent: &str) -> Channel {
    let headers = DialHeaders {
        token: Some(token.to_owned()),
        agent: None,
        user_agent: "test".to_owned(),
    };
    let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET).unwrap();
    let target = Target::parse(url).unwrap();
    connect_caller(
        target.join(&format!("/client/connect?agent={agent}")),
        headers,
        methods,
    )
}

/// A follow of numbered lines, which asks again, from its last cursor on, whenever its call is lost.
pub struct EveryLine {
    shared: Arc<Shared>,
    hold: watch::Sender<bool>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    now: Mutex<Account>,
    changed: Condvar,
}

/// What has come.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The number of the last line.
    pub last: usize,
    /// The lines around what is missing, which was told.
    pub gaps: Vec<(usize, usize)>,
    /// How often the log was asked for.
    pub calls: usize,
    ended: bool,
    wrong: Option<String>,
}

impl EveryLine {
    pub fn start(runtime: &Runtime, channel: Channel, request: StreamLogsRequest) -> Self {
        let shared = Arc::new(Shared::default());
        let (hold, held) = watch::channel(false);
        let reader = Reader {
            shared: Arc::clone(&shared),
            held,
            last_time: 0,
            told: None,
        };
        Self {
            shared,
            hold,
            reading: runtime.spawn(reader.run(channel, request)),
        }
    }

    /// Stops reading, or goes on.
    pub fn hold(&self, hold: bool) {
        self.hold.send(hold).unwrap();
    }

    /// Waits until this line has come.
    pub fn reaches(&self, line: usize, within: Duration) {
        self.wait(within, &format!("line {line}"), |now| now.last >= line);
    }

    pub fn account(&self) -> Account {
        self.shared.now.lock().unwrap().clone()
    }

    /// Waits for the container's end.
    pub fn finish(self, within: Duration) -> Account {
        self.wait(within, "the end", |now| now.ended);
        self.account()
    }

    fn wait(&self, within: Duration, what: &str, is: impl Fn(&Account) -> bool) {
        let deadline = Instant::now() + within;
        let mut now = self.shared.now.lock().unwrap();
        loop {
            assert_eq!(now.wrong, None, "{now:?}");
            if is(&now) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !now.ended && !left.is_zero(),
                "not within {within:?}: {what}; {now:?}"
            );
            now = self.shared.changed.wait_timeout(now, left).unwrap().0;
        }
    }
}

impl Drop for EveryLine {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

struct Reader {
    shared: Arc<Shared>,
    held: watch::Receiver<bool>,
    last_time: i64,
    /// What was told since the last line.
    told: Option<LogGap>,
}

impl Reader {
    async fn run(mut self, channel: Channel, mut request: StreamLogsRequest) {
        let done = loop {
            self.shared.now.lock().unwrap().calls += 1;
            match self.call(&channel, &mut request).await {
                Ok(done) => break done,
                Err(status) => {
                    let goes_on = [
                        "CALL_LOST",
                        "AGENT_OFFLINE",
                        "ENGINE_UNREACHABLE",
                        "CONTROL_PLANE_UNREACHABLE",
                    ];
                    if !goes_on.contains(&reason(&status).as_str()) {
                        break Err(format!("{status:?}"));
                    }
                    // The next call tells it again, if lines were lost.
                    self.told = None;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let mut now = self.shared.now.lock().unwrap();
        now.wrong = done.err();
        now.ended = true;
        self.shared.changed.notify_all();
    }

    /// Reads to the container's end, or to what is wrong with the lines.
    async fn call(
        &mut self,
        channel: &Channel,
        request: &mut StreamLogsRequest,
    ) -> Result<Result<(), String>, Status> {
        let mut client = LogServiceClient::new(channel.clone());
        let mut events = client.stream_logs(request.clone()).await?.into_inner();
        loop {
            // The sender lives as long as this task.
            let _ = self.held.wait_for(|hold| !hold).await;
            let Some(response) = events.message().await? else {
                return Ok(Err("no end".to_owned()));
            };
            match response.event {
                Some(Event::Batch(batch)) => {
                    if let Err(wrong) = self.take(&batch) {
                        return Ok(Err(wrong));
                    }
                    request.cursor = batch.cursor;
                }
                Some(Event::Gap(gap)) => self.told = Some(gap),
                Some(Event::Progress(progress)) => request.cursor = progress.cursor,
                Some(Event::End(_)) => return Ok(Ok(())),
                Some(Event::SourceEnd(end)) if end.reason() == Reason::ContainerEnded => {
                    return Ok(Ok(()));
                }
                other => return Ok(Err(format!("{other:?}"))),
            }
        }
    }

    fn take(&mut self, batch: &LogBatch) -> Result<(), String> {
        let mut now = self.shared.now.lock().unwrap();
        for line in &batch.lines {
            let text = String::from_utf8_lossy(&line.content);
            let number = text
                .strip_suffix(PADDING)
                .and_then(|number| number.trim_end().parse::<usize>().ok());
            let number = number.ok_or_else(|| format!("a line is {text:?}"))?;
            let told = self.told.take();
            if number != now.last + 1 || told.is_some() {
                let exact = told.as_ref().is_some_and(|gap| {
                    (gap.after_unix_nano, gap.before_unix_nano)
                        == (self.last_time, line.time_unix_nano)
                });
                // Nothing may be missing after all: the engine does not say what it has removed.
                if number <= now.last || !exact {
                    return Err(format!(
                        "after line {} of {} comes line {number} of {}, and what was told is {told:?}",
                        now.last, self.last_time, line.time_unix_nano
                    ));
                }
                let last = now.last;
                now.gaps.push((last, number));
            }
            now.last = number;
            self.last_time = line.time_unix_nano;
        }
        self.shared.changed.notify_all();
        Ok(())
    }
}
