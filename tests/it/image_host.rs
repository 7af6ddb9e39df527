//! Images on the host: what is listed, told, named, removed and saved.

use std::collections::{BTreeSet, HashMap};

use tokio_stream::StreamExt;
use tonic::{Code, Request};
use turbopanel_agent::proto::{
    ErrorReason, GetImageHistoryRequest, GetImageRequest, Image, ListImagesRequest, PruneFilter,
    PruneImagesRequest, RemoveImageRequest, SaveImageRequest, TagImageRequest,
    image_service_server::ImageService,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{docker, unique},
    image_support::{Names, TestImage, agent, api, exists},
};

async fn list(request: ListImagesRequest) -> (Vec<Image>, String) {
    let listed = api(&agent()).list_images(Request::new(request)).await;
    let listed = listed.unwrap().into_inner();
    (listed.images, listed.next_page_token)
}

#[tokio::test]
async fn image_lists_are_filtered_and_paged() {
    let label = unique("label");
    let change = format!("LABEL {label}=yes");
    let images: Vec<TestImage> = (0..5).map(|_| TestImage::import(&[&change])).collect();
    let nameless = TestImage::import(&[&change]);
    docker(
        None,
        &["tag", &images[0].name, &format!("{}-b", images[0].name)],
    );
    let _names = Names(vec![format!("{}-b", images[0].name)]);
    // Its only name goes to another image.
    let other = TestImage::named(&nameless.name, &[]);
    let of = |labels: &[(&str, &str)]| ListImagesRequest {
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..ListImagesRequest::default()
    };
    let (all, token) = list(of(&[(&label, "")])).await;
    assert_eq!((all.len(), token), (6, String::new()));
    assert_eq!(list(of(&[(&label, "yes")])).await.0.len(), 6);
    assert_eq!(list(of(&[(&label, "no")])).await.0, []);
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let (page, next) = list(ListImagesRequest {
            page_size: 2,
            page_token: token,
            ..of(&[(&label, "")])
        })
        .await;
        assert!((1..=2).contains(&page.len()));
        seen.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, all);
    let ids: BTreeSet<&str> = all.iter().map(|image| image.id.as_str()).collect();
    let made = images.iter().chain([&nameless]);
    assert_eq!(ids, made.map(|image| image.id.as_str()).collect());
    for dangling in [true, false] {
        let found = list(ListImagesRequest {
            dangling: Some(dangling),
            ..of(&[(&label, "")])
        });
        let found = found.await.0;
        assert_eq!(found.len(), if dangling { 1 } else { 5 });
        assert!(found.iter().all(|image| image.tags.is_empty() == dangling));
    }
    let two = list(ListImagesRequest {
        reference: format!("{}*", images[0].name),
        ..ListImagesRequest::default()
    });
    let two = two.await.0;
    assert_eq!(two.len(), 1);
    assert_eq!(two[0].tags.len(), 2);
    assert_eq!(
        two[0].labels,
        HashMap::from([(label.clone(), "yes".into())])
    );
    assert!(two[0].created_at.is_some() && two[0].size_bytes > 0);
    drop(other);
    for wrong in [
        ListImagesRequest {
            page_token: "x".into(),
            ..ListImagesRequest::default()
        },
        ListImagesRequest {
            page_size: 1001,
            ..ListImagesRequest::default()
        },
        ListImagesRequest {
            reference: "x".repeat(513),
            ..ListImagesRequest::default()
        },
        of(&[("", "x")]),
    ] {
        let refused = api(&agent()).list_images(Request::new(wrong)).await;
        let refused = refused.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
}

#[tokio::test]
async fn image_details_and_history_are_typed() {
    let image = TestImage::import(&[
        "ENV SECRET=canary-env",
        "ENTRYPOINT [\"/bin/thing\"]",
        "CMD [\"serve\", \"now\"]",
        "USER app",
        "WORKDIR /srv",
        "EXPOSE 80/tcp",
        "VOLUME /data",
        "HEALTHCHECK CMD true",
    ]);
    let get = async |values, json| {
        let request = GetImageRequest {
            image: image.name.clone(),
            include_environment_values: values,
            include_engine_json: json,
        };
        let answer = api(&agent()).get_image(Request::new(request)).await;
        answer.unwrap().into_inner()
    };
    let short = get(false, false).await;
    assert!(short.engine_json.is_empty());
    let detail = short.image.unwrap();
    assert!(!format!("{detail:?}").contains("canary-env"));
    assert!(
        detail
            .environment
            .iter()
            .any(|variable| variable.name == "SECRET")
    );
    assert_eq!(detail.entrypoint, ["/bin/thing"]);
    assert_eq!(detail.command, ["serve", "now"]);
    assert_eq!(
        (detail.user.as_str(), detail.working_dir.as_str()),
        ("app", "/srv")
    );
    assert_eq!(detail.exposed_ports, ["80/tcp"]);
    assert_eq!(detail.volumes, ["/data"]);
    assert_eq!(detail.health_check, ["CMD-SHELL", "true"]);
    assert_eq!((detail.os.as_str(), detail.layers.len()), ("linux", 1));
    let inner = detail.image.unwrap();
    assert_eq!(
        (&inner.id, &inner.tags),
        (&image.id, &vec![image.name.clone()])
    );
    let long = get(true, true).await;
    let values = long.image.unwrap().environment;
    assert!(values.iter().any(|variable| variable.value == "canary-env"));
    let json = String::from_utf8(long.engine_json.to_vec()).unwrap();
    assert!(json.starts_with('{') && json.contains(&image.id));

    let request = GetImageHistoryRequest {
        image: image.id.clone(),
    };
    let history = api(&agent()).get_image_history(Request::new(request)).await;
    let entries = history.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id, image.id);
    assert_eq!(entries[0].tags, std::slice::from_ref(&image.name));

    for (name, code, reason) in [
        (
            "turbopanel-test/nosuch:1",
            Code::NotFound,
            ErrorReason::ImageNotFound,
        ),
        (
            "../volumes",
            Code::InvalidArgument,
            ErrorReason::InvalidField,
        ),
        ("", Code::InvalidArgument, ErrorReason::InvalidField),
    ] {
        let request = GetImageRequest {
            image: name.into(),
            ..GetImageRequest::default()
        };
        let refused = api(&agent()).get_image(Request::new(request)).await;
        assert_refused(&refused.unwrap_err(), code, reason);
        let request = GetImageHistoryRequest { image: name.into() };
        let refused = api(&agent()).get_image_history(Request::new(request)).await;
        assert_refused(&refused.unwrap_err(), code, reason);
    }
}

#[tokio::test]
async fn image_names_come_and_go() {
    let image = TestImage::import(&[]);
    let agent = agent();
    let tag = async |name: &str| {
        let request = TagImageRequest {
            image: image.id.clone(),
            name: name.to_owned(),
        };
        api(&agent).tag_image(Request::new(request)).await
    };
    let second = format!("example.test:5000/team/{}", unique("tag"));
    tag(&second).await.unwrap();
    let _names = Names(vec![second.clone()]);
    assert!(exists(&format!("{second}:latest")));
    for wrong in [
        "UPPER",
        "a b",
        &image.id,
        &format!("x@{}", image.id),
        "x/../y",
    ] {
        let refused = tag(wrong).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let remove = async |name: &str, force: bool| {
        let request = RemoveImageRequest {
            image: name.to_owned(),
            force,
            ..RemoveImageRequest::default()
        };
        let removed = api(&agent).remove_image(Request::new(request)).await;
        removed.map(tonic::Response::into_inner)
    };
    // Two names: its id alone does not say which.
    let refused = remove(&image.id, false).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, ErrorReason::ImageInUse);
    let one = remove(&second, false).await.unwrap();
    assert_eq!(one.untagged, [format!("{second}:latest")]);
    assert_eq!(one.deleted, [""; 0]);
    let container = unique("uses");
    docker(
        None,
        &[
            "create",
            "--name",
            &container,
            "--net=none",
            &image.name,
            "x",
        ],
    );
    let refused = remove(&image.name, false).await;
    docker(None, &["rm", &container]);
    let refused = refused.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, ErrorReason::ImageInUse);
    let gone = remove(&image.name, false).await.unwrap();
    assert_eq!(gone.untagged, std::slice::from_ref(&image.name));
    assert!(gone.deleted.contains(&image.id), "{gone:?}");
    let refused = remove(&image.name, false).await.unwrap_err();
    assert_refused(&refused, Code::NotFound, ErrorReason::ImageNotFound);
}

#[tokio::test]
async fn image_prune_keeps_what_was_not_meant() {
    let label = unique("prune");
    let change = format!("LABEL {label}=yes");
    let [old, named, used, kept] = [(); 4].map(|()| TestImage::import(&[&change]));
    let _other = TestImage::named(&old.name, &[]);
    let container = unique("user");
    docker(
        None,
        &[
            "create",
            "--name",
            &container,
            "--net=none",
            &used.name,
            "x",
        ],
    );
    docker(None, &["tag", &kept.name, "turbopanel-test/kept:1"]);
    let _names = Names(vec!["turbopanel-test/kept:1".into()]);
    let agent = agent();
    let prune = async |all: bool, before: Option<i64>| {
        let request = PruneImagesRequest {
            all,
            filter: Some(PruneFilter {
                labels: HashMap::from([(label.clone(), "yes".into())]),
                created_before: before.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
                ..PruneFilter::default()
            }),
        };
        let pruned = api(&agent).prune_images(Request::new(request)).await;
        pruned.unwrap().into_inner()
    };
    // Nothing is that old.
    let none = prune(true, Some(1)).await;
    assert_eq!((none.untagged.len(), none.deleted.len()), (0, 0));
    let nameless = prune(false, None).await;
    assert!(nameless.deleted.contains(&old.id), "{nameless:?}");
    assert!(!nameless.truncated);
    assert!(named.exists() && used.exists() && kept.exists());
    let rest = prune(true, None).await;
    docker(None, &["rm", &container]);
    assert!(rest.untagged.contains(&named.name), "{rest:?}");
    assert!(!named.exists() && !kept.exists() && used.exists());
}

#[tokio::test]
async fn image_save_streams_a_tar_at_the_callers_pace() {
    let big: Vec<u8> = (0..8 << 20).map(|n: u32| (n >> 8 ^ n) as u8).collect();
    let name = format!("turbopanel-test/{}:1", unique("saved"));
    let image = TestImage::with_content(&name, &[], &big);
    let second = TestImage::import(&[]);
    let agent = agent();
    let request = SaveImageRequest {
        images: vec![image.name.clone(), second.id.clone()],
    };
    let mut pieces = api(&agent)
        .save_image(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let mut tar = Vec::new();
    while let Some(piece) = pieces.next().await {
        let content = piece.unwrap().content;
        assert!((1..=64 << 10).contains(&content.len()));
        tar.extend_from_slice(&content);
    }
    let mut archive = tar::Archive::new(tar.as_slice());
    let paths: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(paths.contains(&"manifest.json".to_owned()), "{paths:?}");
    let draining = api(&agent)
        .save_image(Request::new(SaveImageRequest {
            images: vec![image.name.clone()],
        }))
        .await;
    agent.draining().cancel();
    let mut draining = draining.unwrap().into_inner();
    let last = loop {
        match draining.next().await.unwrap() {
            Ok(_) => {}
            Err(last) => break last,
        }
    };
    assert_refused(&last, Code::Unavailable, ErrorReason::AgentStopping);

    for (images, code, reason) in [
        (vec![], Code::InvalidArgument, ErrorReason::InvalidField),
        (
            vec!["a".to_owned(); 101],
            Code::InvalidArgument,
            ErrorReason::InvalidField,
        ),
        (
            vec!["../x".to_owned()],
            Code::InvalidArgument,
            ErrorReason::InvalidField,
        ),
        (
            vec!["turbopanel-test/nosuch".to_owned()],
            Code::NotFound,
            ErrorReason::ImageNotFound,
        ),
    ] {
        let refused = api(&agent)
            .save_image(Request::new(SaveImageRequest { images }))
            .await;
        assert_refused(&refused.err().unwrap(), code, reason);
    }
}
