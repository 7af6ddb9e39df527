//! Pulls from registries that stall, lie, and repeat secrets, and pulls that lose their caller or their agent.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{Request as Asked, Response, body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA256, digest};
use tokio::{net::TcpListener, sync::mpsc, sync::watch, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Request;
use turbopanel_agent::proto::{
    ErrorReason, OperationState, PullImageRequest, RegistryCredentials, UserPassword,
    image_service_client::ImageServiceClient, image_service_server::ImageService,
    operation_event::Event, registry_credentials::Kind,
};

use crate::{
    agent_support,
    docker_support::unique,
    image_support::{Names, PASSWORD, USER, agent, api, exists, follow, pull, pull_of},
};

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// The layer stops in the middle, until it is let go.
    Stalls,
    /// The layer is another one than the manifest says.
    Lies,
    /// It refuses everybody, and repeats what it was sent.
    Repeats,
    /// It fails with 10 MB of text.
    Shouts,
    /// It takes nobody now, with this status.
    Refuses(u16),
    /// The layer ends in the middle, each time.
    Short,
    /// The layer goes on after its end.
    Long,
    /// The manifest says this of the layer's size, which is another.
    Claims(i64),
}

pub struct Fake {
    pub address: String,
    pub go: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

fn whole(content: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(content.into()).boxed()
}

fn sha256(content: &[u8]) -> String {
    let digest = digest(&SHA256, content);
    let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", hex.collect::<String>())
}

impl Fake {
    pub async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let go = watch::Sender::new(false);
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        let content: Vec<u8> = (0..3 << 20).map(|n: u32| (n >> 4 ^ n) as u8).collect();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Another layer each time, or the engine has it already.
        tar.append_data(&mut header, unique("layer"), content.as_slice())
            .unwrap();
        let layer = Bytes::from(tar.into_inner().unwrap());
        let state = Arc::new((fault, layer, go.clone()));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&state);
                let service = service_fn(move |asked: Asked<Incoming>| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&asked, &state)) }
                });
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        Self { address, go, task }
    }

    pub fn name(&self) -> String {
        format!("{}/team/{}:1", self.address, unique("fake"))
    }
}

fn answer(asked: &Asked<Incoming>, state: &(Fault, Bytes, watch::Sender<bool>)) -> Response<Body> {
    let (fault, layer, go) = state;
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        sha256(layer)
    );
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":{},"digest":"{}"}}]}}"#,
        config.len(),
        sha256(config.as_bytes()),
        match fault {
            Fault::Claims(size) => *size,
            _ => layer.len() as i64,
        },
        sha256(layer)
    );
    let path = asked.uri().path();
    let told = Response::builder();
    let authorization = asked.headers().get("authorization");
    match (fault, path) {
        (Fault::Repeats, _) => {
            let said = authorization.map_or("", |value| value.to_str().unwrap());
            let text = format!("you sent {said} and your password is {PASSWORD}");
            let error = format!(r#"{{"errors":[{{"code":"DENIED","message":"{text}"}}]}}"#);
            let told = told.header("www-authenticate", "Basic realm=\"fake\"");
            let status = if said.is_empty() { 401 } else { 403 };
            told.status(status).body(whole(error)).unwrap()
        }
        (Fault::Refuses(status), _) => told.status(*status).body(whole("not now")).unwrap(),
        (_, "/v2/") => told.body(whole("{}")).unwrap(),
        (Fault::Shouts, _) => {
            let text = "x".repeat(10 << 20);
            let error = format!(r#"{{"errors":[{{"code":"UNKNOWN","message":"{text}"}}]}}"#);
            told.status(500).body(whole(error)).unwrap()
        }
        (_, path) if path.contains("/manifests/") => told
            .header("content-type", kind)
            .header("docker-content-digest", sha256(manifest.as_bytes()))
            .body(whole(manifest))
            .unwrap(),
        (_, path) if path.ends_with(&sha256(config.as_bytes())) => {
            told.body(whole(config)).unwrap()
        }
        (Fault::Lies, _) => told.body(whole(vec![7; layer.len()])).unwrap(),
        (Fault::Claims(_), _) => told.body(whole(layer.clone())).unwrap(),
        (Fault::Long, _) => {
            let long = [layer, &vec![7; 1 << 20][..]].concat();
            told.body(whole(long)).unwrap()
        }
        (Fault::Short, _) => {
            let half = Ok::<_, Infallible>(Frame::data(layer.slice(..layer.len() / 2)));
            let body = StreamBody::new(tokio_stream::once(half)).boxed();
            told.header("content-length", layer.len())
                .body(body)
                .unwrap()
        }
        _ => {
            let (send, receive) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(2);
            let (mut first, mut going) = (layer.clone(), go.subscribe());
            let second = first.split_off(layer.len() / 2);
            tokio::spawn(async move {
                let _ = send.send(Ok(Frame::data(first))).await;
                let _ = going.wait_for(|go| *go).await;
                let _ = send.send(Ok(Frame::data(second))).await;
            });
            let body = StreamBody::new(ReceiverStream::new(receive)).boxed();
            told.header("content-length", layer.len())
                .body(body)
                .unwrap()
        }
    }
}

#[tokio::test]
async fn image_registries_that_lie_or_shout_are_told_as_such() {
    let agent = agent();
    let lying = Fake::start(Fault::Lies).await;
    let name = lying.name();
    let error = pull(&agent, pull_of(&name)).await.failed();
    assert_eq!(error.reason(), ErrorReason::RegistryFailed, "{error:?}");
    assert!(!exists(&name));
    let shouting = Fake::start(Fault::Shouts).await;
    let error = pull(&agent, pull_of(&shouting.name())).await.failed();
    assert!(error.message.len() < 2100, "{}", error.message.len());
}

#[tokio::test]
async fn image_registries_that_refuse_everybody_are_told_as_such() {
    let agent = agent();
    for (status, reason) in [
        (403, ErrorReason::RegistryDenied),
        (429, ErrorReason::RegistryDenied),
        (503, ErrorReason::RegistryFailed),
    ] {
        let fake = Fake::start(Fault::Refuses(status)).await;
        let error = pull(&agent, pull_of(&fake.name())).await.failed();
        assert_eq!(error.reason(), reason, "{status}: {error:?}");
        assert_eq!(error.metadata["registry"], fake.address, "{error:?}");
    }
}

/// Whatever a registry says of sizes: what was promised by its digest is there in the end, or nothing is.
#[tokio::test]
async fn image_registries_that_lie_about_sizes_give_nothing_false() {
    let agent = agent();
    let long = Fake::start(Fault::Long).await;
    let name = long.name();
    let error = pull(&agent, pull_of(&name)).await.failed();
    assert_eq!(error.reason(), ErrorReason::RegistryFailed, "{error:?}");
    assert!(!exists(&name));
    for claimed in [0, 1, -1, i64::MAX] {
        let fake = Fake::start(Fault::Claims(claimed)).await;
        let name = fake.name();
        let _names = Names(vec![name.clone()]);
        let seen = pull(&agent, pull_of(&name)).await;
        // Engines go by the digest, and newer ones by the size too.
        let there = match seen.operation.state() {
            OperationState::Succeeded => true,
            _ => {
                let error = seen.failed();
                assert_eq!(error.reason(), ErrorReason::RegistryFailed, "{error:?}");
                false
            }
        };
        assert_eq!(exists(&name), there, "{claimed}");
    }
    // Engines try such a layer again and again, with longer and longer breaks, which is told; whoever has enough ends it.
    let short = Fake::start(Fault::Short).await;
    let name = short.name();
    let request = PullImageRequest {
        request_id: unique("short"),
        ..pull_of(&name)
    };
    let begun = api(&agent).pull_image(Request::new(request)).await;
    let mut events = begun.unwrap().into_inner();
    let mut id = String::new();
    loop {
        match events.next().await.unwrap().unwrap().event.unwrap() {
            Event::Operation(operation) => id = operation.id,
            Event::Progress(progress) if progress.status.starts_with("Retrying in") => break,
            _ => {}
        }
    }
    assert!(!agent.operations().cancel(&id).unwrap());
    let seen = follow(events).await;
    assert_eq!(seen.operation.state(), OperationState::Cancelled);
    assert!(!exists(&name));
}

#[tokio::test]
async fn image_registries_that_repeat_a_password_are_not_listened_to() {
    let (agent, fake) = (agent(), Fake::start(Fault::Repeats).await);
    let (username, password) = (USER.to_owned(), PASSWORD.to_owned());
    let kind = Kind::UserPassword(UserPassword { username, password });
    let request = PullImageRequest {
        credentials: Some(RegistryCredentials { kind: Some(kind) }),
        ..pull_of(&fake.name())
    };
    assert!(!format!("{request:?}").contains("canary"));
    let seen = pull(&agent, request).await;
    let error = seen.failed();
    assert_eq!(error.reason(), ErrorReason::RegistryDenied, "{error:?}");
    assert!(error.message.contains("(hidden)"), "{error:?}");
    assert!(!format!("{seen:?}").contains("canary"), "{seen:?}");
}

#[tokio::test]
async fn image_pulls_that_stall_end_by_inactivity_alone() {
    let (agent, fake) = (agent(), Fake::start(Fault::Stalls).await);
    let request = PullImageRequest {
        quiet_limit: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        ..pull_of(&fake.name())
    };
    let error = pull(&agent, request).await.failed();
    assert_eq!(error.reason(), ErrorReason::EngineQuiet, "{error:?}");
    assert_eq!(error.metadata["quiet_limit"], "2 s");
}

#[tokio::test]
async fn c5_a_pull_outlives_its_caller_and_is_unknown_after_a_kill() {
    let fake = Fake::start(Fault::Stalls).await;
    let state = tempfile::tempdir().unwrap();
    let dir = [("AGENT_STATE_DIR", state.path().to_str().unwrap())];
    let agent = agent_support::Agent::start(&dir);
    let name = fake.name();
    let _names = Names(vec![name.clone()]);
    let request = PullImageRequest {
        request_id: unique("pull"),
        ..pull_of(&name)
    };
    let begin = async |agent: &agent_support::Agent, request: &PullImageRequest| {
        let mut client = ImageServiceClient::new(agent.connect(None).await);
        client
            .pull_image(request.clone())
            .await
            .unwrap()
            .into_inner()
    };
    let downloading = |event: &Option<Event>| matches!(event, Some(Event::Progress(progress)) if progress.status == "Downloading");
    let mut first = begin(&agent, &request).await;
    while !downloading(&first.next().await.unwrap().unwrap().event) {}
    // The caller goes with its connection, in the middle of the layer.
    drop(first);
    let again = begin(&agent, &request).await;
    fake.go.send_replace(true);
    let seen = follow(again).await;
    assert!(seen.succeeded().image_id.starts_with("sha256:"));
    assert!(exists(&name));
    let once_more = follow(begin(&agent, &request).await).await;
    assert_eq!(once_more.operation, seen.operation);

    let fake = Fake::start(Fault::Stalls).await;
    let request = PullImageRequest {
        request_id: unique("pull"),
        ..pull_of(&fake.name())
    };
    let mut agent = agent;
    let mut first = begin(&agent, &request).await;
    while !downloading(&first.next().await.unwrap().unwrap().event) {}
    agent.child.kill().unwrap();
    agent.ended();
    let agent = agent_support::Agent::start(&dir);
    let seen = follow(begin(&agent, &request).await).await;
    assert_eq!(seen.operation.state(), OperationState::Unknown);
    let error = seen.operation.error.unwrap();
    assert_eq!(error.reason(), ErrorReason::OutcomeUnknown);
    assert!(error.message.contains("look at what"), "{error:?}");
    assert_eq!(
        (seen.operation.kind.as_str(), &seen.operation.target),
        ("image.pull", &request.image)
    );
    assert!(seen.operation.finished_at.is_some());
    // Under another request_id it is asked for anew, and comes.
    let name = request.image.clone();
    let _names = Names(vec![name.clone()]);
    let anew = PullImageRequest {
        request_id: unique("anew"),
        ..request
    };
    fake.go.send_replace(true);
    follow(begin(&agent, &anew).await).await.succeeded();
    assert!(exists(&name));
}
