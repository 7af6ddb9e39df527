//! A request whose content comes piece by piece, in chunks.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    error::{Error, Subject},
    http1::Head,
    socket::Writer,
    stream::{Stream, message},
    transport::Transport,
};

/// An upload. Dropping it before its end closes the connection, and the engine sees that it was not whole.
#[derive(Debug)]
pub(super) struct Upload {
    stream: Stream,
    writer: Writer,
    transport: Arc<Transport>,
}

impl Upload {
    /// Begins a PUT of a tar archive to this path, which is made of parsed names and escaped values.
    pub(super) async fn begin(transport: &Arc<Transport>, path: &str) -> Result<Self, Error> {
        let agreed = transport.api_version().await?;
        let socket = transport.connect().await?;
        let mut stream = Stream::on(transport, socket);
        let writer = stream.take_writer();
        let mut upload = Self {
            stream,
            writer: writer.ok_or_else(|| transport.broke("its connection has one direction"))?,
            transport: Arc::clone(transport),
        };
        let head = format!(
            "PUT /v{agreed}{path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
             Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let sent = upload.write(head.as_bytes()).await;
        sent.map_err(|error| transport.broke(error.to_string()))?;
        Ok(upload)
    }

    /// Sends a piece. Fails as soon as the engine refuses.
    pub(super) async fn send(&mut self, piece: &Bytes, subject: Subject<'_>) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        let size = format!("{:x}\r\n", piece.len());
        let sent = async {
            for part in [size.as_bytes(), piece, b"\r\n"] {
                write_all(&mut self.writer, part).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let answered = tokio::select! {
            biased;
            head = self.stream.head() => Some(head),
            sent = sent => match sent {
                Ok(()) => None,
                // It may have said why.
                Err(_) => Some(self.stream.head().await),
            },
        };
        match answered {
            None => Ok(()),
            Some(head) => match self.outcome(head?, subject).await {
                Ok(()) => Err(self.transport.broke("it answered before it had everything")),
                Err(error) => Err(error),
            },
        }
    }

    /// Sends the end, and waits for what the engine says of it.
    pub(super) async fn finish(mut self, subject: Subject<'_>) -> Result<(), Error> {
        // A refusal may have come before.
        let _ = self.write(b"0\r\n\r\n").await;
        let head = self.stream.head().await?;
        self.outcome(head, subject).await
    }

    async fn outcome(&mut self, head: Head, subject: Subject<'_>) -> Result<(), Error> {
        if (200..300).contains(&head.status) {
            return Ok(());
        }
        let deadline = self.transport.deadlines.call;
        let text = timeout(deadline, self.stream.text()).await;
        let text =
            text.unwrap_or_else(|_| Err(self.transport.broke("it did not finish its answer")))?;
        Err(Error::from_status(head.status, &message(&text), subject))
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write_all(&mut self.writer, bytes).await
    }
}

async fn write_all(writer: &mut Writer, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = writer.write(bytes).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}
