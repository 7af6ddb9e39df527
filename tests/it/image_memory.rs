//! C6 of archives: 200 MB go through the agent, with an engine that stands still in the middle, and the agent stays small.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use tokio_stream::{Stream, StreamExt};
use turbopanel_agent::proto::{
    BuildImageOptions, BuildImageRequest, LoadImageOptions, LoadImageRequest,
    build_image_request::Step as BuildStep, image_service_client::ImageServiceClient,
    load_image_request::Step as LoadStep,
};

use crate::{
    agent_support::Agent,
    docker_relay::{ENGINE, Relay},
    docker_support::{eventually, unique},
    image_support::{Names, follow},
};

const CONTENT: u64 = 200_000_000;
/// So much more may the agent take for it: windows, pieces on their way, and what the allocator keeps.
const MOST_KIB: u64 = 16 << 10;
const PIECE: usize = 64 << 10;

/// Some bytes, and then so many zeros.
type Part = (Vec<u8>, u64);

/// The header of a file, as a tar has it.
fn header(name: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(512) - size
}

/// A small file.
fn file(name: &str, content: &str) -> Part {
    let size = content.len() as u64;
    let bytes = [&header(name, size), content.as_bytes()].concat();
    (bytes, padding(size))
}

/// The parts in pieces, none of which is made before it is sent.
fn pieces(parts: Vec<Part>) -> impl Iterator<Item = Bytes> + Send {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    parts.into_iter().flat_map(|(bytes, zeros)| {
        let whole = zeros / PIECE as u64;
        let rest = (zeros % PIECE as u64) as usize;
        let zeros = (0..whole).map(|_| Bytes::from_static(&ZEROS));
        std::iter::once(Bytes::from(bytes))
            .chain(zeros)
            .chain([Bytes::from_static(&ZEROS[..rest])])
    })
}

/// An image with one layer of zeros, as `docker save` writes it.
fn image(name: &str) -> Vec<Part> {
    let inner = header("zeros", CONTENT);
    let zeros = CONTENT + padding(CONTENT) + 1024;
    let size = inner.len() as u64 + zeros;
    let mut digest = Context::new(&SHA256);
    for piece in pieces(vec![(inner.clone(), zeros)]) {
        digest.update(&piece);
    }
    let digest = digest.finish();
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        hex.collect::<String>()
    );
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
    vec![
        file("manifest.json", &manifest),
        file("config.json", &config),
        (
            [header("layer.tar", size), inner].concat(),
            zeros + padding(size) + 1024,
        ),
    ]
}

/// The most that the agent has taken so far.
fn peak_kib(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

/// Counts the bytes that are taken of an archive.
fn counted<T>(
    parts: Vec<Part>,
    taken: Arc<AtomicU64>,
    message: impl Fn(Bytes) -> T + Send + 'static,
) -> impl Stream<Item = T> + Send {
    tokio_stream::iter(pieces(parts)).map(move |piece| {
        taken.fetch_add(piece.len() as u64, Ordering::SeqCst);
        message(piece)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_loads_and_builds_of_200_mb_leave_the_agent_small() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("relay.sock");
    let relay = Relay::start(&socket, ENGINE);
    let agent = Agent::start(&[("DOCKER_HOST", socket.to_str().unwrap())]);
    let mut client = ImageServiceClient::new(agent.connect(None).await);
    let name = format!("turbopanel-test/{}:1", unique("large"));
    let _names = Names(vec![name.clone()]);
    let parts = image(&name);
    let before = peak_kib(&agent);

    let load = |step| LoadImageRequest { step: Some(step) };
    let options = load(LoadStep::Options(LoadImageOptions::default()));
    let taken = Arc::new(AtomicU64::new(0));
    let rest = counted(parts, Arc::clone(&taken), move |piece| {
        load(LoadStep::Content(piece))
    });
    let messages = tokio_stream::once(options).chain(rest);
    let begun = client.load_image(messages).await.unwrap().into_inner();
    let loading = tokio::spawn(follow(begun));
    let now = || taken.load(Ordering::SeqCst);
    eventually("some of it is taken", async || now() > CONTENT / 10).await;
    // The engine stands still, and so does the caller soon.
    relay.hang(true);
    let mut last = 0;
    eventually("nothing more is taken", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::mem::replace(&mut last, now()) == now()
    })
    .await;
    assert!(last < CONTENT, "all of it was taken, by nobody: {last}");
    relay.hang(false);
    let id = loading.await.unwrap().succeeded().image_id;
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(now() > CONTENT);
    let grown = peak_kib(&agent) - before;
    assert!(grown < MOST_KIB, "a load: {before} KiB, and {grown} more");

    let build = |step| BuildImageRequest { step: Some(step) };
    let context = vec![
        file("Dockerfile", "FROM scratch\nCOPY small /\n"),
        file("small", "x"),
        (header("zeros", CONTENT), CONTENT + padding(CONTENT) + 1024),
    ];
    let options = build(BuildStep::Options(BuildImageOptions::default()));
    let rest = counted(context, Arc::clone(&taken), move |piece| {
        build(BuildStep::Content(piece))
    });
    let messages = tokio_stream::once(options).chain(rest);
    let begun = client.build_image(messages).await.unwrap().into_inner();
    let id = follow(begun).await.succeeded().image_id;
    let _built = Names(vec![id]);
    let grown = peak_kib(&agent) - before;
    assert!(grown < MOST_KIB, "a build: {before} KiB, and {grown} more");
}
