//! What a command in a container prints, or why it never ran: the engine says that in the same place.

use bollard::models::ContainerInspectResponse;
use bytes::Bytes;

use super::{
    attended::Attended,
    engine::Engine,
    error::{Error, clean},
    exec::ExecRequest,
    framing::{Decoder, Source},
    socket::Writer,
    stream::Stream,
};

/// What a command prints.
#[derive(Debug)]
pub struct ExecOutput {
    stream: Attended,
    decoder: Decoder,
    content: Bytes,
}

/// A piece of what a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// From standard output.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
}

impl ExecOutput {
    pub(super) fn new(engine: &Engine, stream: Stream, tty: bool) -> Self {
        Self {
            stream: Attended::new(engine, stream),
            decoder: Decoder::new(tty),
            content: Bytes::new(),
        }
    }

    /// The connection's other direction, for the command's input.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.stream.take_writer()
    }

    /// The next piece; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Output>, Error> {
        loop {
            let piece = self.decoder.next(&mut self.content);
            match piece.map_err(|error| Error::Protocol(error.to_string()))? {
                Some(piece) if piece.bytes.is_empty() => {}
                Some(piece) => {
                    return match piece.source {
                        Source::Stdout => Ok(Some(Output::Stdout(piece.bytes))),
                        Source::Stderr => Ok(Some(Output::Stderr(piece.bytes))),
                        Source::Engine => Err(Error::Failed {
                            status: 0,
                            message: clean(&String::from_utf8_lossy(&piece.bytes)),
                        }),
                    };
                }
                None => match self.stream.next().await? {
                    Some(content) => self.content = content,
                    None => {
                        let end = self.decoder.finish();
                        return match end {
                            Ok(()) => Ok(None),
                            Err(_) => Err(self.stream.broke("the output broke off")),
                        };
                    }
                },
            }
        }
    }

    /// Why a command never ran: the engine says it where the output would be.
    pub(super) async fn refusal(
        &mut self,
        request: &ExecRequest,
        container: &ContainerInspectResponse,
    ) -> Error {
        const MOST: usize = 4096;
        let mut text = Vec::new();
        while let Ok(Some(Output::Stdout(bytes) | Output::Stderr(bytes))) = self.next().await {
            text.extend_from_slice(&bytes);
            if text.len() > MOST {
                break;
            }
        }
        let text = clean(&String::from_utf8_lossy(&text));
        let own = container.config.as_ref();
        let container = request.container.to_string();
        let program = clean(request.argv.first().map_or("", String::as_str));
        let has = |what: &str| text.contains(what);
        if has("unable to find user") || has("unable to find group") || has("in passwd file") {
            let user = request
                .user
                .clone()
                .or_else(|| own?.user.clone())
                .unwrap_or_default();
            let user = clean(&user);
            Error::UserNotFound { user, container }
        } else if has("chdir to cwd") || has("Cwd must be an absolute path") {
            let directory = request
                .working_dir
                .clone()
                .or_else(|| own?.working_dir.clone())
                .unwrap_or_default();
            Error::DirectoryNotFound {
                directory: clean(&directory),
                container,
            }
        } else if has("argument list too long") {
            Error::Rejected { message: text }
        } else if has("executable file not found") || has("no such file or directory") {
            Error::ProgramNotFound { program, container }
        } else if has("permission denied") || has("is a directory") || has("exec format error") {
            Error::ProgramDenied { program, container }
        } else {
            Error::Failed {
                status: 0,
                message: text,
            }
        }
    }
}
