//! Attaching to a container's first process.
//!
//! No task: what the caller sends is handed on while it reads. One that stops reading holds up what it attached to, as
//! on a terminal, and nobody else.

use std::{future::pending, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::container_ref;
use crate::{
    engines::docker::{
        Engine,
        attach::{AttachRequest, Attached},
        exec::ExecInput,
        exec_output::Output,
    },
    proto::{
        AttachContainerRequest, AttachContainerResponse, AttachEnded, AttachStarted,
        ContainerTerminalSize, attach_container_request::Step as Asked,
        attach_container_response::Step,
    },
    services::error::{self, invalid},
};

/// What the caller gets.
pub(super) type Told = Pin<Box<dyn Stream<Item = Result<AttachContainerResponse, Status>> + Send>>;

/// Attaches.
pub(super) async fn attach(
    engine: &Engine,
    mut steps: Streaming<AttachContainerRequest>,
    draining: CancellationToken,
) -> Result<Told, Status> {
    let first = steps.next().await.transpose()?.and_then(|first| first.step);
    let Some(Asked::Start(start)) = first else {
        return Err(invalid("start", "", "the first message must be a start"));
    };
    let size = start.size.map(size).transpose()?;
    let request = AttachRequest {
        container: container_ref(&start.container)?,
        stdin: start.stdin,
        logs: start.logs,
    };
    let mut attached = engine.attach(&request).await.map_err(error::docker)?;
    if let Some((columns, rows)) = size
        && attached.tty
    {
        attached
            .resize(columns, rows)
            .await
            .map_err(error::docker)?;
    }
    let started = Step::Started(AttachStarted {
        tty: attached.tty,
        id: attached.id.to_string(),
    });
    let attending = Attending {
        input: attached.input.take(),
        attached,
        steps: Some(steps),
        reads: start.stdin,
        held: Bytes::new(),
    };
    let told = stream::unfold(Some((attending, draining)), |state| async {
        let (mut attending, draining) = state?;
        let next = draining.run_until_cancelled(attending.next()).await;
        match next.unwrap_or_else(|| Err(error::stopping())) {
            Ok(step @ Step::Ended(_)) => Some((Ok(told(step)), None)),
            Ok(step) => Some((Ok(told(step)), Some((attending, draining)))),
            Err(failed) => Some((Err(failed), None)),
        }
    });
    let first = stream::iter([Ok(self::told(started))]);
    Ok(Box::pin(stream::StreamExt::chain(first, told)))
}

fn told(step: Step) -> AttachContainerResponse {
    AttachContainerResponse { step: Some(step) }
}

fn size(size: ContainerTerminalSize) -> Result<(u16, u16), Status> {
    let fits = |number: u32| {
        u16::try_from(number)
            .ok()
            .filter(|n| (1..=1000).contains(n))
    };
    match (fits(size.columns), fits(size.rows)) {
        (Some(columns), Some(rows)) => Ok((columns, rows)),
        _ => {
            let given = format!("{}x{}", size.columns, size.rows);
            Err(invalid("size", &given, "give 1 to 1000 columns and rows"))
        }
    }
}

/// An attachment, and what the caller wants of it.
struct Attending {
    attached: Attached,
    input: Option<ExecInput>,
    /// None when the caller has ended its stream.
    steps: Option<Streaming<AttachContainerRequest>>,
    /// Standard input was asked for.
    reads: bool,
    /// What the container has not read yet; no further step is taken before it has.
    held: Bytes,
}

/// What comes first.
enum Event {
    Printed(Option<Output>),
    Asked(Option<Asked>),
    Written,
}

impl Attending {
    /// What is told next.
    async fn next(&mut self) -> Result<Step, Status> {
        loop {
            let event = tokio::select! {
                biased;
                printed = self.attached.output.next() => Event::Printed(printed.map_err(error::docker)?),
                () = write(&mut self.input, &mut self.held), if !self.held.is_empty() => Event::Written,
                asked = ask(&mut self.steps), if self.held.is_empty() => Event::Asked(asked?),
            };
            match event {
                Event::Printed(Some(Output::Stdout(bytes))) => return Ok(Step::Stdout(bytes)),
                Event::Printed(Some(Output::Stderr(bytes))) => return Ok(Step::Stderr(bytes)),
                Event::Printed(None) => {
                    let exit_code = self.attached.exit_code().await.map_err(error::docker)?;
                    return Ok(Step::Ended(AttachEnded { exit_code }));
                }
                Event::Written => {}
                Event::Asked(asked) => self.do_next(asked).await?,
            }
        }
    }

    async fn do_next(&mut self, asked: Option<Asked>) -> Result<(), Status> {
        if asked.is_none() {
            self.steps = None;
        }
        match asked {
            Some(Asked::Stdin(bytes)) if self.reads => self.held = bytes,
            Some(Asked::Stdin(_)) => {
                let mend = "standard input was not asked for in the start";
                return Err(invalid("stdin", "", mend));
            }
            Some(Asked::Size(wanted)) => {
                let (columns, rows) = size(wanted)?;
                let resized = self.attached.resize(columns, rows).await;
                resized.map_err(error::docker)?;
            }
            Some(Asked::Start(_)) => {
                return Err(invalid("start", "", "a container is attached to once"));
            }
            // Without standard input, its end would end what is printed, too.
            Some(Asked::StdinEnd(_)) | None => {
                if self.reads {
                    self.input = None;
                }
            }
        }
        Ok(())
    }
}

async fn write(input: &mut Option<ExecInput>, held: &mut Bytes) {
    match input {
        Some(input) => input.write_some(held).await,
        // It was ended before.
        None => held.clear(),
    }
}

/// The caller's next step; none at the end of its stream, and then nothing any more. Cancel-safe.
async fn ask(
    steps: &mut Option<Streaming<AttachContainerRequest>>,
) -> Result<Option<Asked>, Status> {
    loop {
        let Some(open) = steps else {
            return pending().await;
        };
        match open.next().await.transpose()? {
            Some(request) if request.step.is_none() => {}
            Some(request) => return Ok(request.step),
            None => return Ok(None),
        }
    }
}
