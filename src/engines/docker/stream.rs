//! Streams of the engine: its answer's content as it comes, read without a copy.
//!
//! Used for logs and for what an exec prints. Dropping the stream closes the connection, which
//! ends the engine's work for it. Back-pressure is the socket's: what is not read, the engine keeps.

use std::{io, mem, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    error::{Error, Subject},
    http1::{Content, Delimiter, Head},
    paced::{Load, Look, Paced, Ticks},
    socket::{Reader, Socket, Writer},
    transport::{MAX_AGREEMENTS, Transport},
    version::Identity,
};

/// The first read's room, and the most that an idle stream holds.
const SMALL_READ: usize = 16 << 10;
/// A busy stream's room.
const LARGE_READ: usize = 64 << 10;
/// The most of an error's text that is read.
const MAX_ERROR: usize = 16 << 10;

/// A request for a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRequest<'a> {
    pub(super) method: &'static str,
    /// Path and query, without the API version. Made of parsed names only.
    pub(super) path: &'a str,
    /// JSON.
    pub(super) body: &'a str,
    /// The connection is to become a plain one in both directions.
    pub(super) upgrade: bool,
    pub(super) subject: Subject<'a>,
    /// For the head of the answer.
    pub(super) deadline: Duration,
}

/// How the connection is read.
#[derive(Debug)]
enum Connection {
    /// By event, with the other direction at hand.
    Whole(Socket),
    /// By event; somebody else holds the other direction.
    Half(Reader),
    /// By the clock.
    Paced(Paced),
    /// Not any more.
    Broken,
}

/// The content of an answer.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection,
    load: Load,
    transport: Arc<Transport>,
    status: u16,
    /// What the engine says of a file.
    path_stat: Option<Bytes>,
    delimiter: Delimiter,
    buffer: BytesMut,
    room: usize,
}

impl Stream {
    /// Sends the request and waits for the head of a good answer.
    pub(super) async fn open(
        transport: &Arc<Transport>,
        request: StreamRequest<'_>,
    ) -> Result<Self, Error> {
        Self::open_with(transport, request, "").await
    }

    /// The same with more headers, each with its end of line.
    pub(super) async fn open_with(
        transport: &Arc<Transport>,
        request: StreamRequest<'_>,
        headers: &str,
    ) -> Result<Self, Error> {
        let deadline = request.deadline;
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Both have deadlines of their own: past the one below, the request was sent.
            let agreed = transport.api_version().await?;
            let socket = transport.connect().await?;
            let answered = timeout(deadline, async {
                let (mut stream, head) =
                    Self::exchange(transport, socket, request, headers, &agreed.to_string())
                        .await?;
                let refusal = stream.refusal().await?;
                Ok((stream, head, refusal))
            });
            let (stream, head, refusal) = answered.await.unwrap_or_else(|_| {
                Err(transport.broke(format!("no answer in {} s", deadline.as_secs_f32())))
            })?;
            let changed = Identity::from_headers(&head.headers)
                .is_some_and(|identity| transport.known.answered(&identity));
            let Some(refusal) = refusal else {
                return Ok(stream);
            };
            let outdated = changed && transport.known.agreed() != Some(agreed);
            if head.status == 400 && outdated && attempts < MAX_AGREEMENTS {
                // Another engine than the one that the version was agreed on with.
                continue;
            }
            return Err(Error::from_status(head.status, &refusal, request.subject));
        }
    }

    /// What the engine says when its answer is not a good one.
    pub(super) async fn refusal(&mut self) -> Result<Option<String>, Error> {
        if (200..300).contains(&self.status) || matches!(self.status, 101 | 304) {
            return Ok(None);
        }
        Ok(Some(message(&self.text().await?)))
    }

    /// An error's text.
    pub(super) async fn text(&mut self) -> Result<String, Error> {
        let mut text = BytesMut::new();
        while text.len() <= MAX_ERROR
            && let Some(bytes) = self.next().await?
        {
            text.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn exchange(
        transport: &Arc<Transport>,
        mut socket: Socket,
        request: StreamRequest<'_>,
        headers: &str,
        version: &str,
    ) -> Result<(Self, Head), Error> {
        let StreamRequest {
            method,
            path,
            body,
            upgrade,
            ..
        } = request;
        let connection = if upgrade {
            "Connection: Upgrade\r\nUpgrade: tcp"
        } else {
            "Connection: close"
        };
        let text = format!(
            "{method} /v{version}{path} HTTP/1.1\r\nHost: docker\r\n{connection}\r\n\
             {headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = socket.write_all(text.as_bytes()).await;
        sent.map_err(|error| transport.broke(error.to_string()))?;
        let mut stream = Self::on(transport, socket);
        let head = stream.head().await?;
        if method == "HEAD" {
            // The head tells of a content that does not come.
            stream.delimiter = Delimiter::Length(0);
        }
        Ok((stream, head))
    }

    /// What the engine says on this connection.
    pub(super) fn on(transport: &Arc<Transport>, socket: Socket) -> Self {
        Self::over(transport, Connection::Whole(socket))
    }

    /// The answer to a request that somebody else sends.
    pub(super) fn answer(transport: &Arc<Transport>, reader: Reader) -> Self {
        Self::over(transport, Connection::Half(reader))
    }

    fn over(transport: &Arc<Transport>, connection: Connection) -> Self {
        Self {
            connection,
            load: Load::default(),
            transport: Arc::clone(transport),
            status: 0,
            path_stat: None,
            delimiter: Delimiter::Close,
            buffer: BytesMut::new(),
            room: SMALL_READ,
        }
    }

    /// Reads the head, which comes before all content. Cancel-safe.
    pub(super) async fn head(&mut self) -> Result<Head, Error> {
        let head = loop {
            if self.fill().await? == 0 {
                let cause = "it closed the connection without an answer";
                return Err(self.transport.broke(cause));
            }
            if let Some(head) = Head::take(&mut self.buffer).map_err(protocol)? {
                break head;
            }
        };
        self.status = head.status;
        self.delimiter = Delimiter::of(&head).map_err(protocol)?;
        let path_stat = head.headers.get("x-docker-container-path-stat");
        self.path_stat = path_stat.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Ok(head)
    }

    /// The next bytes; none at the end. An end that the engine did not announce is an
    /// error. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.take()? {
                Content::Bytes(bytes) => return Ok(Some(bytes)),
                Content::End => return Ok(None),
                Content::More => {}
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads until more is there; false at the end. An end that the engine did not announce is an
    /// error. Cancel-safe.
    pub(super) async fn more(&mut self) -> Result<bool, Error> {
        if self.fill().await? > 0 {
            return Ok(true);
        }
        if self.delimiter.may_end() {
            return Ok(false);
        }
        Err(self
            .transport
            .broke("the connection broke in the middle of an answer"))
    }

    /// What is there without reading.
    pub(super) fn take(&mut self) -> Result<Content, Error> {
        self.delimiter.take(&mut self.buffer).map_err(protocol)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// What the engine says of a file, as it comes.
    pub(super) fn path_stat(&self) -> Option<&[u8]> {
        self.path_stat.as_deref()
    }

    /// Reads once, as much as is there; 0 at the end of the connection. Cancel-safe.
    async fn fill(&mut self) -> Result<usize, Error> {
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < self.room / 4 {
            self.buffer.reserve(self.room);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let read = self.read().await;
        let read = read.map_err(|error| self.transport.broke(error.to_string()))?;
        if read >= spare {
            self.room = (self.room * 2).min(LARGE_READ);
        } else if read < SMALL_READ / 4 {
            self.room = (self.room / 2).max(SMALL_READ);
        }
        Ok(read)
    }

    /// Reads by event or by the clock, and changes from one to the other as the load asks for.
    async fn read(&mut self) -> io::Result<usize> {
        loop {
            match &mut self.connection {
                Connection::Whole(socket) => {
                    let read = socket.read_buf(&mut self.buffer).await?;
                    // Without a descriptor for a clock the stream goes on by event.
                    if self.load.read(read, Instant::now())
                        && let Ok(ticks) = Ticks::start()
                    {
                        self.change(|connection| match connection {
                            Connection::Whole(socket) => {
                                Paced::new(socket, ticks).map(Connection::Paced)
                            }
                            other => Ok(other),
                        })?;
                    }
                    return Ok(read);
                }
                Connection::Half(reader) => return reader.read_buf(&mut self.buffer).await,
                Connection::Paced(paced) => {
                    let look = paced.read_buf(&mut self.buffer).await?;
                    if paced.is_quiet() {
                        self.change(|connection| match connection {
                            Connection::Paced(paced) => paced.into_socket().map(Connection::Whole),
                            other => Ok(other),
                        })?;
                    }
                    if let Look::Read(read) = look {
                        return Ok(read);
                    }
                }
                Connection::Broken => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(Connection) -> io::Result<Connection>,
    ) -> io::Result<()> {
        let connection = mem::replace(&mut self.connection, Connection::Broken);
        self.connection = change(connection)?;
        Ok(())
    }

    /// The connection's other direction, for whoever writes to it.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        match mem::replace(&mut self.connection, Connection::Broken) {
            Connection::Whole(socket) => {
                let (reader, writer) = socket.split();
                self.connection = Connection::Half(reader);
                Some(writer)
            }
            other => {
                self.connection = other;
                None
            }
        }
    }
}

fn protocol(error: super::http1::HttpError) -> Error {
    Error::Protocol(error.to_string())
}

/// The text in `{"message":"…"}`, or all of it.
pub(super) fn message(text: &str) -> String {
    let answer: Result<serde_json::Value, _> = serde_json::from_str(text);
    let message = answer.ok().and_then(|answer| {
        let message = answer.get("message")?.as_str()?;
        Some(message.to_owned())
    });
    message.unwrap_or_else(|| text.to_owned())
}
