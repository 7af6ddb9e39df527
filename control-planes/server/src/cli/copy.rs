//! `turbopanel cp`: files out of a container, and into one.
//!
//! ```text
//!  out:  answers ──▶ pieces ──▶ a thread that unpacks, or writes the archive to standard output
//!  in:   a thread that packs, or reads an archive from standard input ──▶ pieces ──▶ steps
//! ```

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use turbopanel_control_plane::proto::agent::{
    ContainerPath, CopyFromContainerRequest, CopyToContainerRequest, CopyToContainerStart,
    StatContainerPathRequest, StatContainerPathResponse, container_path,
    container_service_client::ContainerServiceClient, copy_from_container_response,
    copy_to_container_request::Step, stat_container_path_response::Type,
};
use turbopanel_tunnel::Channel;

use super::{
    connection::{Connection, prompt, settle},
    failure::{Failure, reason},
    interrupt::Interrupts,
    note,
    output::print_json,
    text, unpack,
};

/// Pieces that wait, at most.
const WAITING: usize = 4;
const PIECE: usize = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel cp web-2/db:/etc/postgresql .
  turbopanel cp site.conf web-2/proxy:/etc/proxy/
  turbopanel cp web-2/db:/var/lib/db - | tar t

Exactly one of both is AGENT/CONTAINER:PATH with an absolute path. A directory that is there gets what is copied into it; nothing
else takes its name. With -, an archive is written to standard output or read from standard input.")]
pub(crate) struct Copy {
    /// What to copy.
    #[arg(value_name = "FROM", value_parser = side)]
    from: Place,
    /// Where to.
    #[arg(value_name = "TO", value_parser = side)]
    to: Place,
}

/// One end of a copy.
#[derive(Clone, Debug)]
enum Place {
    Here(PathBuf),
    There(text::Container, Vec<u8>),
}

fn side(given: &str) -> Result<Place, String> {
    if let Some((container, path)) = given.split_once(':')
        && path.starts_with('/')
        && let Ok(container) = text::container(container)
    {
        return Ok(Place::There(container, path.as_bytes().to_vec()));
    }
    Ok(Place::Here(PathBuf::from(given)))
}

/// Copies.
pub(crate) async fn run(connection: &Connection, args: Copy, json: bool) -> Result<u8, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let (agent, container) = match (&args.from, &args.to) {
        (Place::There(container, _), Place::Here(_))
        | (Place::Here(_), Place::There(container, _)) => {
            (container.agent.clone(), container.name.clone())
        }
        (Place::Here(_), Place::Here(_)) | (Place::There(..), Place::There(..)) => {
            let mend = "write one of both as AGENT/CONTAINER:PATH, for example local/web:/etc/motd";
            return Err(Failure::Argument(mend.to_owned()));
        }
    };
    let channel = connection.agent(&agent)?;
    let copying = async {
        match (args.from, args.to) {
            (Place::There(_, path), Place::Here(to)) => {
                out(channel.clone(), &container, path, to).await
            }
            (Place::Here(from), Place::There(_, path)) => {
                into(channel.clone(), &container, from, path).await
            }
            // Refused above.
            _ => Ok(Copied::default()),
        }
    };
    let copied = tokio::select! {
        biased;
        signal = interrupts.next() => Err(Failure::Signal(signal)),
        copied = copying => copied,
    };
    // A call that nobody ends waits for its caller to come back, and holds the container's files meanwhile.
    if copied.is_err() {
        tokio::select! {
            () = settle(channel) => {}
            _ = interrupts.next() => {}
        }
    }
    let copied = copied?;
    if json {
        print_json(&serde_json::json!({ "entries": copied.entries, "bytes": copied.bytes }))?;
    } else if !copied.quiet {
        let (entries, bytes) = (copied.entries, super::figures::size(copied.bytes));
        note(&format!(
            "copied {entries} files, directories and links, {bytes}"
        ));
    }
    Ok(0)
}

/// What was copied.
#[derive(Default)]
pub(super) struct Copied {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Standard output is the archive.
    quiet: bool,
}

fn path(path: &[u8]) -> Option<ContainerPath> {
    Some(ContainerPath {
        path: Some(container_path::Path::Raw(path.to_vec().into())),
    })
}

async fn out(
    channel: Channel,
    container: &str,
    from: Vec<u8>,
    to: PathBuf,
) -> Result<Copied, Failure> {
    let mut client = ContainerServiceClient::new(channel);
    let request = CopyFromContainerRequest {
        container: container.to_owned(),
        path: path(&from),
    };
    let mut answers = client.copy_from_container(request).await?.into_inner();
    let (send, pieces) = mpsc::channel(WAITING);
    let archive = to == Path::new("-");
    let writing = tokio::task::spawn_blocking(move || {
        let pieces = Pieces {
            pieces,
            piece: Bytes::new(),
            over: false,
        };
        if archive {
            write_archive(pieces)
        } else {
            unpack::unpack(pieces, &to)
        }
    });
    while let Some(answer) = answers.message().await? {
        if let Some(copy_from_container_response::Step::Archive(piece)) = answer.step
            && send.send(Some(piece)).await.is_err()
        {
            // The thread has ended, and tells why.
            break;
        }
    }
    let _ = send.send(None).await;
    drop(send);
    let written = writing.await;
    written.unwrap_or_else(|panicked| Err(Failure::Output(io::Error::other(panicked))))
}

fn write_archive(mut pieces: Pieces) -> Result<Copied, Failure> {
    let mut stdout = io::stdout().lock();
    let copied = io::copy(&mut pieces, &mut stdout).and_then(|_| stdout.flush());
    copied.map_err(Failure::Output)?;
    Ok(Copied {
        quiet: true,
        ..Copied::default()
    })
}

/// An archive that comes in pieces, for a thread that reads it.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    over: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.over {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.over = true,
                None => return Err(io::Error::other("the archive did not come whole")),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece
            .copy_to_slice(buffer.get_mut(..read).unwrap_or_default());
        Ok(read)
    }
}

async fn stat(
    client: &mut ContainerServiceClient<Channel>,
    container: &str,
    at: &[u8],
) -> Result<Option<StatContainerPathResponse>, Failure> {
    let request = StatContainerPathRequest {
        container: container.to_owned(),
        path: path(at),
    };
    match client.stat_container_path(prompt(request)).await {
        Ok(stat) => Ok(Some(stat.into_inner())),
        Err(status) if reason(&status).as_deref() == Some("PATH_NOT_FOUND") => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn into(
    channel: Channel,
    container: &str,
    from: PathBuf,
    to: Vec<u8>,
) -> Result<Copied, Failure> {
    let mut client = ContainerServiceClient::new(channel);
    let archive = from == Path::new("-");
    let mut seen = stat(&mut client, container, &to).await?;
    if seen
        .as_ref()
        .is_some_and(|seen| seen.r#type() == Type::Link)
    {
        // What it leads to counts.
        seen = stat(&mut client, container, &[&to[..], b"/."].concat()).await?;
    }
    let is_directory = seen.is_some_and(|seen| seen.r#type() == Type::Directory);
    let own = from.file_name().map(|name| name.as_bytes().to_vec());
    let (directory, name) = if is_directory || archive || to.ends_with(b"/") {
        (to, own)
    } else {
        let end = to.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (parent, name) = to.split_at(end);
        let parent = if parent.is_empty() { &b"/"[..] } else { parent };
        (parent.to_vec(), name.get(1..).map(<[u8]>::to_vec))
    };
    let name = name.filter(|name| !name.is_empty() && name != b"..");
    let name = match name {
        Some(name) => name,
        None if archive => Vec::new(),
        None => {
            let mend = format!(
                "{} has no name of its own: name what is copied",
                from.display()
            );
            return Err(Failure::Argument(mend));
        }
    };
    let (send, pieces) = mpsc::channel(WAITING);
    let packing = from.clone();
    // Left alone when the call fails: then its queue is closed.
    let _thread = tokio::task::spawn_blocking(move || {
        let mut packed = Packed(send);
        let done = if archive {
            io::copy(&mut io::stdin().lock(), &mut packed).map(drop)
        } else {
            pack(&packing, &name, &mut packed)
        };
        let _ = packed.0.blocking_send(done.map(|()| None));
    });
    let start = CopyToContainerRequest {
        step: Some(Step::Start(CopyToContainerStart {
            container: container.to_owned(),
            path: path(&directory),
            ..CopyToContainerStart::default()
        })),
    };
    let (tell, failed) = oneshot::channel();
    let steps = stream::unfold((pieces, tell), |(mut pieces, tell)| async {
        match pieces.recv().await? {
            Ok(Some(piece)) => {
                let step = Some(Step::Archive(piece));
                Some((CopyToContainerRequest { step }, (pieces, tell)))
            }
            Ok(None) => None,
            Err(error) => {
                let _ = tell.send(error);
                // What was sent is not all: it must not end as if it were.
                std::future::pending().await
            }
        }
    });
    let steps = stream::iter([start]).chain(steps);
    let unreadable = async {
        match failed.await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        source = unreadable => Err(Failure::File { path: from, source }),
        copied = client.copy_to_container(steps) => {
            let copied = copied?.into_inner();
            Ok(Copied {
                entries: copied.entries,
                bytes: copied.content_bytes,
                quiet: false,
            })
        }
    }
}

/// Packs a file, or a directory with all that is in it, under this name. Links stay links.
fn pack(from: &Path, name: &[u8], output: &mut Packed) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(PIECE, output));
    tar.follow_symlinks(false);
    // A hole in a file is zeros to others.
    tar.sparse(false);
    let name = Path::new(OsStr::from_bytes(name));
    if from.symlink_metadata()?.is_dir() {
        tar.append_dir_all(name, from)?;
    } else {
        tar.append_path_with_name(from, name)?;
    }
    tar.into_inner()?.flush()
}

struct Packed(mpsc::Sender<io::Result<Option<Bytes>>>);

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        let piece = Ok(Some(Bytes::copy_from_slice(bytes)));
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
