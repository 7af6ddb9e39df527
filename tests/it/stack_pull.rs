//! The images of a stack, pulled by compose from a real registry.

use turbopanel_agent::proto::{OperationState, PullStackRequest};

use crate::{
    docker_support::{IMAGE, docker},
    image_support::{Names, Registry, exists},
    stack_support::{Rig, ended, files},
};

#[tokio::test(flavor = "multi_thread")]
async fn stack_images_are_pulled_by_service_and_all() {
    let registry = Registry::start(false);
    let images = Names(vec![registry.name(), registry.name()]);
    for image in &images.0 {
        docker(None, &["tag", IMAGE, image]);
        docker(None, &["push", "--quiet", image]);
        docker(None, &["image", "rm", image]);
    }
    let [web, db] = &images.0[..] else {
        unreachable!("there are two")
    };
    let mut rig = Rig::start("pull").await;
    let text = format!("services: {{web: {{image: '{web}'}}, db: {{image: '{db}'}}}}");
    let mut pulled = async |text: &str, services: &[&str]| {
        let request = PullStackRequest {
            stack: rig.stack.clone(),
            files: Some(files(&[("compose.yaml", text)])),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            ..PullStackRequest::default()
        };
        let events = rig.client.pull_stack(request).await.unwrap();
        ended(events.into_inner()).await
    };

    let one = pulled(&text, &["web"]).await;
    assert_eq!(one.operation.state(), OperationState::Succeeded, "{one:?}");
    assert_eq!(one.operation.kind, "stack.pull");
    assert!(exists(web) && !exists(db));

    let all = pulled(&text, &[]).await;
    assert_eq!(all.operation.state(), OperationState::Succeeded, "{all:?}");
    assert!(exists(web) && exists(db));

    // One that the registry does not have fails, and says which.
    let missing = format!("{}/team/none:1", registry.address);
    let text = format!("services: {{web: {{image: '{missing}'}}}}");
    let failed = pulled(&text, &[]).await;
    let (_, message, _) = failed.failure();
    assert!(message.contains("none"), "{message}");
    assert!(!exists(&missing));
}
