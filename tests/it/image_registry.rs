//! Pulls and pushes with a real registry.

use tonic::{Code, Request};
use turbopanel_agent::proto::{
    ErrorReason, PullImageRequest, PushImageRequest, RegistryCredentials, UserPassword,
    image_service_server::ImageService, registry_credentials::Kind,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{docker, unique},
    image_support::{
        Names, PASSWORD, Registry, TestImage, USER, agent, api, exists, free_port, in_registry,
        pull, pull_of, push, push_of,
    },
};

fn user(password: &str) -> Option<RegistryCredentials> {
    let (username, password) = (USER.to_owned(), password.to_owned());
    let kind = Some(Kind::UserPassword(UserPassword { username, password }));
    Some(RegistryCredentials { kind })
}

#[tokio::test]
async fn image_pulls_and_pushes_go_through_a_registry() {
    let (agent, registry) = (agent(), Registry::start(false));
    let image = TestImage::named(&registry.name(), &["CMD [\"x\"]"]);
    let pushed = push(&agent, push_of(&image.name)).await;
    let digest = pushed.succeeded().digest;
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    assert!(
        pushed.progress.iter().any(|it| it.status == "Pushed"),
        "{pushed:?}"
    );
    docker(None, &["image", "rm", &image.name]);
    assert!(!image.exists());
    let first = pull(&agent, pull_of(&image.name)).await;
    let result = first.succeeded();
    assert_eq!((&result.image_id, &result.digest), (&image.id, &digest));
    assert!(!result.unchanged && first.output.is_empty());
    let layer = |status: &str| {
        let layers = first.progress.iter();
        layers
            .filter(|it| it.item.len() == 12 && it.status == status)
            .count()
    };
    assert_eq!(layer("Pull complete"), 1, "{first:?}");
    let operation = &first.operation;
    assert_eq!(
        (operation.kind.as_str(), &operation.target),
        ("image.pull", &image.name)
    );
    let again = pull(&agent, pull_of(&image.name)).await.succeeded();
    assert!(again.unchanged);
    // By digest, too.
    let (repository, _) = image.name.rsplit_once(':').unwrap();
    let by_digest = format!("{repository}@{digest}");
    let result = pull(&agent, pull_of(&by_digest)).await.succeeded();
    assert_eq!((result.image_id, result.digest), (image.id.clone(), digest));
    let _names = Names(vec![by_digest]);
}

#[tokio::test]
async fn image_pulls_say_why_they_fail() {
    let (agent, registry) = (agent(), Registry::start(false));
    let name = in_registry(&registry, b"x");
    let _names = Names(vec![name.clone()]);
    let no_tag = format!("{name}2");
    let no_repository = format!("{}/nobody/nothing", registry.address);
    for missing in [&no_tag, &no_repository] {
        let error = pull(&agent, pull_of(missing)).await.failed();
        assert_eq!(error.reason(), ErrorReason::ImageNotFound, "{error:?}");
        assert!(error.message.contains(missing.as_str()), "{error:?}");
        assert_eq!(error.metadata["registry"], registry.address);
    }
    let other = PullImageRequest {
        platform: "linux/s390x".into(),
        ..pull_of(&name)
    };
    let error = pull(&agent, other).await.failed();
    assert_eq!(error.reason(), ErrorReason::ImageNotFound, "{error:?}");
    assert!(error.message.contains("s390x"), "{error:?}");
    let nobody = format!("127.0.0.1:{}/x/y:1", free_port());
    let error = pull(&agent, pull_of(&nobody)).await.failed();
    assert_eq!(
        error.reason(),
        ErrorReason::RegistryUnreachable,
        "{error:?}"
    );
    assert!(error.message.contains("certificate"), "{error:?}");
    let absent = format!("{}/team/{}:1", registry.address, unique("absent"));
    let error = push(&agent, push_of(&absent)).await.failed();
    assert_eq!(error.reason(), ErrorReason::ImageNotFound, "{error:?}");
    let id = format!("sha256:{}", "0".repeat(64));
    for wrong in [
        pull_of(""),
        pull_of("../x"),
        pull_of(&id),
        PullImageRequest {
            platform: "linux/&x".into(),
            ..pull_of(&name)
        },
        PullImageRequest {
            quiet_limit: Some(prost_types::Duration::default()),
            ..pull_of(&name)
        },
        PullImageRequest {
            credentials: Some(RegistryCredentials { kind: None }),
            ..pull_of(&name)
        },
        PullImageRequest {
            credentials: user(""),
            ..pull_of(&name)
        },
    ] {
        let refused = api(&agent).pull_image(Request::new(wrong)).await;
        let refused = refused.err().unwrap();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let refused = api(&agent)
        .push_image(Request::new(push_of(&format!("x@{id}"))))
        .await;
    assert_refused(
        &refused.err().unwrap(),
        Code::InvalidArgument,
        ErrorReason::InvalidField,
    );
}

#[tokio::test]
async fn image_credentials_count_for_one_call() {
    let (agent, registry) = (agent(), Registry::start(true));
    let image = TestImage::named(&registry.name(), &[]);
    let push_by = |credentials| PushImageRequest {
        credentials,
        ..push_of(&image.name)
    };
    let pull_by = |credentials| PullImageRequest {
        credentials,
        ..pull_of(&image.name)
    };
    for credentials in [None, user("canary-b6Rk-wrong")] {
        let error = push(&agent, push_by(credentials)).await.failed();
        assert_eq!(error.reason(), ErrorReason::RegistryDenied, "{error:?}");
        assert!(!format!("{error:?}").contains("canary-b6Rk"), "{error:?}");
    }
    push(&agent, push_by(user(PASSWORD))).await.succeeded();
    docker(None, &["image", "rm", &image.name]);
    // Nothing was kept of the call before.
    let error = pull(&agent, pull_by(None)).await.failed();
    assert_eq!(error.reason(), ErrorReason::RegistryDenied, "{error:?}");
    assert!(error.message.contains("give credentials"), "{error:?}");
    pull(&agent, pull_by(user(PASSWORD))).await.succeeded();
    assert!(exists(&image.name));
    // A repeat asks for the same, whoever it is by.
    let mut once = pull_by(user(PASSWORD));
    once.request_id = unique("once");
    let first = pull(&agent, once.clone()).await;
    once.credentials = None;
    let again = pull(&agent, once.clone()).await;
    assert_eq!(first.operation, again.operation);
    once.image.push('2');
    let refused = api(&agent).pull_image(Request::new(once)).await;
    let refused = refused.err().unwrap();
    assert_refused(&refused, Code::AlreadyExists, ErrorReason::RequestIdInUse);
    assert!(!format!("{:?}", agent.operations().list()).contains("canary"));
}
