//! Builds and loads: archives that callers send.

use std::{collections::HashMap, io::Write};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Code;
use turbopanel_agent::proto::{
    BuildImageOptions, BuildImageRequest, ErrorReason, LoadImageOptions, LoadImageRequest,
    OperationState, RegistryCredentials, UserPassword, build_image_request::Step as BuildStep,
    image_service_client::ImageServiceClient, load_image_request::Step as LoadStep,
    operation_event::Event, registry_credentials::Kind,
};

use crate::{
    agent_support::{Agent, Connected},
    docker_containers::assert_refused,
    docker_support::{IMAGE, docker, eventually, unique},
    image_support::{Names, PASSWORD, Registry, Seen, TestImage, USER, exists, follow},
};

async fn client(agent: &Agent) -> ImageServiceClient<Connected> {
    ImageServiceClient::new(agent.connect(None).await)
}

/// A tar of these files.
fn context(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

fn content(content: &[u8]) -> BuildImageRequest {
    BuildImageRequest {
        step: Some(BuildStep::Content(Bytes::copy_from_slice(content))),
    }
}

async fn build(agent: &Agent, options: BuildImageOptions, tar: &[u8]) -> Seen {
    let mut messages = vec![BuildImageRequest {
        step: Some(BuildStep::Options(options)),
    }];
    messages.extend(tar.chunks(100_000).map(content));
    let begun = client(agent)
        .await
        .build_image(tokio_stream::iter(messages))
        .await;
    follow(begun.unwrap().into_inner()).await
}

async fn load(agent: &Agent, tar: &[u8]) -> Seen {
    let step = |step| LoadImageRequest { step: Some(step) };
    let mut messages = vec![step(LoadStep::Options(LoadImageOptions::default()))];
    let pieces = tar.chunks(1 << 20).map(Bytes::copy_from_slice);
    messages.extend(pieces.map(|piece| step(LoadStep::Content(piece))));
    let begun = client(agent)
        .await
        .load_image(tokio_stream::iter(messages))
        .await;
    follow(begun.unwrap().into_inner()).await
}

#[tokio::test]
async fn image_builds_take_their_options_and_stream_their_output() {
    let agent = Agent::start(&[]);
    let tag = format!("turbopanel-test/{}:1", unique("built"));
    let _names = Names(vec![tag.clone()]);
    let dockerfile = format!(
        "FROM {IMAGE} AS first\nARG WHAT=nothing\nCOPY deep/file /copied\n\
         RUN echo \"$WHAT\" > /made && echo said $WHAT\nFROM first AS last\nRUN false\n"
    );
    let big: Vec<u8> = (0..6 << 20).map(|n: u32| (n >> 3 ^ n) as u8).collect();
    let tar = context(&[
        ("build/Dockerfile", dockerfile.as_bytes()),
        ("deep/file", &big),
    ]);
    let options = BuildImageOptions {
        dockerfile: "build/Dockerfile".into(),
        tags: vec![tag.clone()],
        args: [("WHAT".to_owned(), "something odd&=".to_owned())].into(),
        target: "first".into(),
        labels: [("key".to_owned(), "value".to_owned())].into(),
        no_cache: true,
        memory_limit_bytes: 64 << 20,
        cpu_limit_milli: 900,
        network: "none".into(),
        ..BuildImageOptions::default()
    };
    let seen = build(&agent, options.clone(), &tar).await;
    let id = seen.succeeded().image_id;
    let output = String::from_utf8_lossy(&seen.output).into_owned();
    assert!(output.contains("said something odd&="), "{output}");
    let format = "{{.Id}} {{.Config.Labels.key}}";
    let inspected = docker(None, &["image", "inspect", "-f", format, &tag]);
    assert_eq!(inspected, format!("{id} value"));
    let sum = docker(
        None,
        &[
            "run",
            "--rm",
            "--net=none",
            &tag,
            "sh",
            "-c",
            "cat /made; wc -c < /copied",
        ],
    );
    assert_eq!(sum, format!("something odd&=\n{}", big.len()));
    // The last stage has a step that fails.
    let failing = BuildImageOptions {
        target: String::new(),
        tags: Vec::new(),
        no_cache: false,
        ..options
    };
    let error = build(&agent, failing, &tar).await.failed();
    assert_eq!(error.reason(), ErrorReason::BuildFailed, "{error:?}");
    assert_eq!(error.metadata["exit_code"], "1");
    // So has a file with a word that nobody knows.
    let odd = context(&[("Dockerfile", b"FROM scratch\nFLY x\n")]);
    let error = build(&agent, BuildImageOptions::default(), &odd)
        .await
        .failed();
    assert!(error.message.contains("FLY"), "{error:?}");
}

#[tokio::test]
async fn image_builds_pull_with_credentials_of_their_own() {
    let (agent, registry) = (Agent::start(&[]), Registry::start(true));
    let image = TestImage::named(&registry.name(), &[]);
    docker(
        None,
        &["login", "-u", USER, "-p", PASSWORD, &registry.address],
    );
    docker(None, &["push", "-q", &image.name]);
    docker(None, &["logout", &registry.address]);
    docker(None, &["image", "rm", &image.name]);
    let tar = context(&[(
        "Dockerfile",
        format!("FROM {}\nLABEL a=b\n", image.name).as_bytes(),
    )]);
    let by = |password: &str| BuildImageOptions {
        credentials: HashMap::from([(
            registry.address.clone(),
            RegistryCredentials {
                kind: Some(Kind::UserPassword(UserPassword {
                    username: USER.into(),
                    password: password.into(),
                })),
            },
        )]),
        ..BuildImageOptions::default()
    };
    let error = build(&agent, by("canary-b6Rk-wrong"), &tar).await.failed();
    assert_eq!(error.reason(), ErrorReason::RegistryDenied, "{error:?}");
    let built = build(&agent, by(PASSWORD), &tar).await.succeeded().image_id;
    let _names = Names(vec![built]);
    assert!(exists(&image.name));
    assert!(!agent.log().contains("canary-b6Rk"), "{}", agent.log());
}

#[tokio::test]
async fn image_contexts_that_could_leave_never_reach_the_engine() {
    let agent = Agent::start(&[]);
    let file = b"FROM scratch\nCOPY . /\n";
    let with = |name: &str, kind: tar::EntryType, target: &str| {
        let mut tar = context(&[("Dockerfile", file)]);
        tar.truncate(tar.len() - 1024);
        let mut header = tar::Header::new_gnu();
        let raw = header.as_gnu_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(&[0; 1024]);
        tar
    };
    use tar::EntryType as E;
    for (name, kind, target) in [
        ("../evil", E::Regular, ""),
        ("/etc/evil", E::Regular, ""),
        ("link", E::Symlink, "../../etc/passwd"),
        ("link", E::Symlink, "/etc/passwd"),
        ("link", E::Link, "/etc/passwd"),
        ("device", E::Block, ""),
    ] {
        let tar = with(name, kind, target);
        let error = build(&agent, BuildImageOptions::default(), &tar)
            .await
            .failed();
        assert_eq!(error.reason(), ErrorReason::ArchiveRefused, "{error:?}");
        assert_eq!(error.metadata["entry"], name, "{error:?}");
        assert!(error.message.contains(name), "{error:?}");
        let error = load(&agent, &tar).await.failed();
        assert_eq!(error.reason(), ErrorReason::ArchiveRefused, "{error:?}");
    }
    let mut gzip = std::process::Command::new("gzip")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    stdin.write_all(&context(&[("Dockerfile", file)])).unwrap();
    drop(stdin);
    let gzip = gzip.wait_with_output().unwrap().stdout;
    for (wrong, rule) in [
        (gzip.as_slice(), "compressed"),
        (&b""[..], "no entries"),
        (&[7; 3000], "not a tar"),
    ] {
        let error = build(&agent, BuildImageOptions::default(), wrong)
            .await
            .failed();
        assert_eq!(error.reason(), ErrorReason::ArchiveRefused, "{error:?}");
        assert!(error.message.contains(rule), "{error:?}");
    }
    for wrong in [
        BuildImageOptions {
            dockerfile: "../Dockerfile".into(),
            ..BuildImageOptions::default()
        },
        BuildImageOptions {
            tags: vec!["UPPER".into()],
            ..BuildImageOptions::default()
        },
        BuildImageOptions {
            credentials: HashMap::from([("https://x".into(), RegistryCredentials::default())]),
            ..BuildImageOptions::default()
        },
        BuildImageOptions {
            args: [("A=B".to_owned(), String::new())].into(),
            ..BuildImageOptions::default()
        },
        BuildImageOptions {
            target: "x".repeat(300 << 10),
            ..BuildImageOptions::default()
        },
    ] {
        let message = BuildImageRequest {
            step: Some(BuildStep::Options(wrong)),
        };
        let begun = client(&agent)
            .await
            .build_image(tokio_stream::iter([message]))
            .await;
        let refused = begun.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let begun = client(&agent)
        .await
        .build_image(tokio_stream::iter([content(b"x")]))
        .await;
    let refused = begun.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
}

#[tokio::test]
async fn image_loads_bring_back_what_was_saved() {
    let agent = Agent::start(&[]);
    let big: Vec<u8> = (0..5 << 20).map(|n: u32| (n >> 5 ^ n) as u8).collect();
    let name = format!("turbopanel-test/{}:1", unique("loaded"));
    let image = TestImage::with_content(&name, &["LABEL a=b"], &big);
    let path = tempfile::NamedTempFile::new().unwrap();
    let file = path.path().to_str().unwrap();
    docker(None, &["save", "-o", file, &image.name]);
    docker(None, &["image", "rm", &image.name]);
    let tar = std::fs::read(path.path()).unwrap();
    let seen = load(&agent, &tar).await;
    assert_eq!(seen.succeeded().image_id, image.id);
    assert!(image.exists());
    let output = String::from_utf8_lossy(&seen.output).into_owned();
    assert!(output.contains(&image.name), "{output}");
    // A tar without an image, and half of one.
    let error = load(&agent, &context(&[("x", b"y")])).await.failed();
    assert!(
        matches!(error.reason(), ErrorReason::EngineFailed),
        "{error:?}"
    );
    let error = load(&agent, &tar[..tar.len() / 2]).await.failed();
    assert_eq!(error.reason(), ErrorReason::UploadIncomplete, "{error:?}");
}

#[tokio::test]
async fn c5_a_build_outlives_its_caller_once_its_context_is_there() {
    let agent = Agent::start(&[]);
    let tag = format!("turbopanel-test/{}:1", unique("outlives"));
    let _names = Names(vec![tag.clone()]);
    let dockerfile = format!("FROM {IMAGE}\nRUN sleep 2 && date +%N > /x\n");
    let tar = context(&[("Dockerfile", dockerfile.as_bytes())]);
    let options = BuildImageOptions {
        tags: vec![tag.clone()],
        network: "none".into(),
        request_id: unique("build"),
        ..BuildImageOptions::default()
    };
    let first = BuildImageRequest {
        step: Some(BuildStep::Options(options.clone())),
    };
    // One who goes before the context is whole ...
    let (send, receive) = mpsc::channel(4);
    let half = BuildImageOptions {
        request_id: unique("half"),
        ..options.clone()
    };
    let half = BuildImageRequest {
        step: Some(BuildStep::Options(half)),
    };
    send.send(half.clone()).await.unwrap();
    send.send(content(&tar[..600])).await.unwrap();
    let begun = client(&agent)
        .await
        .build_image(ReceiverStream::new(receive))
        .await;
    let begun = begun.unwrap();
    drop(begun);
    drop(send);
    let mut client = client(&agent).await;
    // ... and one who goes after it.
    let messages = tokio_stream::iter([first.clone(), content(&tar)]);
    let mut begun = client.build_image(messages).await.unwrap().into_inner();
    while let Some(event) = begun.next().await {
        if let Some(Event::Output(output)) = event.unwrap().event
            && String::from_utf8_lossy(&output.content).contains("Step 2")
        {
            break;
        }
    }
    drop(begun);
    // The repeat has no context to send.
    let again = client.build_image(tokio_stream::iter([first])).await;
    let seen = follow(again.unwrap().into_inner()).await;
    assert!(seen.succeeded().image_id.starts_with("sha256:"));
    eventually("the image is there", async || exists(&tag)).await;
    let again = client.build_image(tokio_stream::iter([half])).await;
    let seen = follow(again.unwrap().into_inner()).await;
    assert_eq!(seen.operation.state(), OperationState::Failed);
    assert_eq!(seen.failed().reason(), ErrorReason::UploadIncomplete);
}
