//! The first process of a container: what it prints, and what it reads.

use super::{
    ask::Ask,
    container_state::{Until, own_id},
    engine::Engine,
    error::{Error, Subject},
    exec::ExecInput,
    exec_output::ExecOutput,
    names::ContainerRef,
    stream::{Stream, StreamRequest},
};

/// What to attach to.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// Whose.
    pub container: ContainerRef,
    /// With standard input.
    pub stdin: bool,
    /// First what it has printed before.
    pub logs: bool,
}

/// An attached container. Dropping it leaves the container as it is.
#[derive(Debug)]
pub struct Attached {
    /// The container itself: another one may get its name.
    pub id: ContainerRef,
    /// It has a terminal.
    pub tty: bool,
    /// What it prints.
    pub output: ExecOutput,
    /// Its standard input, when it was asked for.
    pub input: Option<ExecInput>,
    engine: Engine,
}

impl Engine {
    /// Attaches to a container.
    pub async fn attach(&self, request: &AttachRequest) -> Result<Attached, Error> {
        let seen = self.inspect(&request.container).await?;
        let config = seen.config.unwrap_or_default();
        let id = own_id(&seen.id.unwrap_or_default())?;
        if request.stdin && config.open_stdin != Some(true) {
            return Err(Error::StateConflict {
                container: request.container.to_string(),
                message: "it was made without standard input".to_owned(),
            });
        }
        let path = format!(
            "/containers/{id}/attach?stream=1&stdin={}&stdout=1&stderr=1&logs={}",
            u8::from(request.stdin),
            u8::from(request.logs)
        );
        let request = StreamRequest {
            method: "POST",
            path: &path,
            body: "",
            upgrade: true,
            subject: Subject::Container(request.container.as_str()),
            deadline: self.deadlines().call,
        };
        let stream = Stream::open(self.transport(), request).await?;
        let tty = config.tty == Some(true);
        let mut output = ExecOutput::new(self, stream, tty);
        // Kept also when nothing is written: its end would end the attachment.
        let input = ExecInput::new(output.take_writer());
        Ok(Attached {
            id,
            tty,
            output,
            input: Some(input),
            engine: self.clone(),
        })
    }
}

impl Attached {
    /// Sets the size of the container's terminal.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let path = format!("/containers/{}/resize?h={rows}&w={columns}", self.id);
        let subject = Subject::Container(self.id.as_str());
        self.engine.order(Ask::post(&path, "", subject)).await
    }

    /// The exit code of the container, whose output has ended; none when it is gone.
    pub async fn exit_code(&self) -> Result<Option<i32>, Error> {
        match self.engine.wait(&self.id, Until::NotRunning).await {
            Ok((code, _)) => Ok(Some(code)),
            Err(Error::ContainerNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
