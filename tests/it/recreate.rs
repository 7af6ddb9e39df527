//! Recreating containers: the settings stay, the image changes, and whatever fails is taken back.

use tokio_stream::StreamExt;
use tonic::{Code, Request};
use turbopanel_agent::proto::{
    ErrorReason, OperationState, RecreateContainerRequest,
    container_service_client::ContainerServiceClient, container_service_server::ContainerService,
    operation_event::Event,
};

use crate::{
    agent_support,
    docker_containers::assert_refused,
    docker_support::{IMAGE, docker, eventually, unique},
    image_support::{Names, Registry, agent, follow},
    recreate_support::{Place, SLEEP, api, image, of, recreate},
};

#[tokio::test]
async fn recreate_keeps_settings_and_takes_what_the_new_image_brings() {
    let tag = format!("turbopanel-test/{}:1", unique("app"));
    let network = unique("net");
    let (agent, volume) = (agent(), unique("vol"));
    let old_image = image(
        &tag,
        &[
            SLEEP,
            "ENV VERSION=1",
            "LABEL which=old",
            "VOLUME /anonymous",
        ],
    );
    let _images = Names(vec![tag.clone(), old_image.clone()]);
    docker(
        None,
        &["network", "create", "--subnet=10.213.7.0/24", &network],
    );
    docker(None, &["volume", "create", &volume]);
    let mount = format!("{volume}:/named");
    let options = [
        "-e",
        "MINE=mine",
        "-l",
        "own=label",
        "--network",
        &network,
        "--ip",
        "10.213.7.77",
        "--network-alias",
        "friend",
        "-v",
        &mount,
        "--memory",
        "64m",
        "--restart",
        "unless-stopped",
        "--cap-drop",
        "ALL",
        "--init",
        "--log-opt",
        "max-size=1m",
        "-w",
        "/tmp",
        "--ulimit",
        "nofile=99:99",
    ];
    let place = Place::run(&tag, &options, &[]);
    docker(
        None,
        &["exec", &place.0, "sh", "-c", "echo kept > /anonymous/file"],
    );
    let settings = "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.CapDrop}} {{.HostConfig.Init}} \
                    {{.HostConfig.LogConfig}} {{.HostConfig.Ulimits}} {{.Config.WorkingDir}} {{.Config.StopTimeout}} \
                    {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{index .Config.Labels \"own\"}}";
    let (before, old) = (place.show(settings), place.show("{{.Id}}"));
    // The same image: nothing to do.
    let same = recreate(&agent, of(&place.0)).await.succeeded();
    assert!(same.unchanged);
    assert_eq!(same.container_id, old);
    let new_image = image(
        &tag,
        &[
            SLEEP,
            "ENV VERSION=2",
            "LABEL which=new",
            "VOLUME /anonymous",
        ],
    );
    let _new = Names(vec![new_image.clone()]);
    let done = recreate(&agent, of(&old[..12])).await;
    let result = done.succeeded();
    assert!(!result.unchanged);
    assert_eq!(result.image_id, new_image);
    assert_eq!(result.container_id, place.show("{{.Id}}"));
    assert_ne!(result.container_id, old);
    assert_eq!(place.names(), std::slice::from_ref(&place.0));
    assert_eq!(place.show(settings), before);
    assert_eq!(place.show("{{.State.Running}}"), "true");
    let env = place.show("{{.Config.Env}}");
    assert!(
        env.contains("VERSION=2") && env.contains("MINE=mine"),
        "{env}"
    );
    assert_eq!(place.show("{{index .Config.Labels \"which\"}}"), "new");
    let kept = docker(None, &["exec", &place.0, "cat", "/anonymous/file"]);
    assert_eq!(kept, "kept");
    let aliases = place.show("{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}");
    assert!(
        aliases.contains("friend") && !aliases.contains(&old[..12]),
        "{aliases}"
    );
    let hostname = place.show("{{.Config.Hostname}}");
    assert_eq!(hostname, result.container_id[..12]);
    assert!(done.progress.iter().any(|it| it.status.contains("healthy")));
    // Forced, it is another one of the same image; one that stood is not started.
    docker(None, &["stop", &place.0]);
    let forced = RecreateContainerRequest {
        force: true,
        ..of(&place.0)
    };
    let forced = recreate(&agent, forced).await.succeeded();
    assert_ne!(forced.container_id, result.container_id);
    assert_eq!(place.show("{{.State.Status}}"), "created");
    drop(place);
    docker(None, &["network", "rm", &network]);
}

#[tokio::test]
async fn recreate_pulls_first_and_rolls_back_what_is_not_healthy() {
    let (agent, registry) = (agent(), Registry::start(false));
    let name = registry.name();
    let _images = Names(vec![name.clone()]);
    let publish = |changes: &[&str]| {
        let id = image(&name, changes);
        docker(None, &["push", "-q", &name]);
        Names(vec![id])
    };
    let good = publish(&[SLEEP]);
    let place = Place::run(&name, &["--network=none"], &[]);
    let old = place.show("{{.Id}}");
    let pulled = |request| RecreateContainerRequest {
        skip_pull: false,
        ..request
    };
    let unhealthy = "HEALTHCHECK --interval=1s --retries=1 CMD false";
    for (changes, word) in [
        (&[SLEEP, unhealthy][..], "health check"),
        (&[r#"CMD ["sh", "-c", "exit 7"]"#][..], "exit code was 7"),
        (&[r#"CMD ["/no/such/program"]"#][..], "/no/such/program"),
    ] {
        let _bad = publish(changes);
        // So that the pull is what brings it.
        docker(None, &["tag", &good.0[0], &name]);
        let error = recreate(&agent, pulled(of(&place.0))).await.failed();
        assert!(error.message.contains(word), "{error:?}");
        if word != "/no/such/program" {
            assert_eq!(error.reason(), ErrorReason::ContainerUnhealthy, "{error:?}");
        }
        assert_eq!(
            place.show("{{.Id}} {{.State.Running}}"),
            format!("{old} true")
        );
        assert_eq!(place.names(), std::slice::from_ref(&place.0));
    }
    let _healthy = publish(&[SLEEP, "HEALTHCHECK --interval=1s CMD true"]);
    docker(None, &["tag", &good.0[0], &name]);
    let done = recreate(&agent, pulled(of(&place.0))).await;
    assert_ne!(done.succeeded().container_id, old);
    assert_eq!(place.show("{{.State.Health.Status}}"), "healthy");
    // Without the registry nothing is touched.
    drop(registry);
    let now = place.show("{{.Id}}");
    let error = recreate(&agent, pulled(of(&place.0))).await.failed();
    assert_eq!(
        error.reason(),
        ErrorReason::RegistryUnreachable,
        "{error:?}"
    );
    assert_eq!(
        place.show("{{.Id}} {{.State.Running}}"),
        format!("{now} true")
    );
}

#[tokio::test]
async fn recreate_is_taken_back_when_it_is_cancelled_or_the_agent_stops() {
    let place = Place::run(IMAGE, &["--network=none"], &["sleep", "1000"]);
    let old = place.show("{{.Id}}");
    for stops in [false, true] {
        let agent = agent();
        let forced = RecreateContainerRequest {
            force: true,
            settle: Some(prost_types::Duration {
                seconds: 3000,
                nanos: 0,
            }),
            ..of(&place.0)
        };
        let begun = api(&agent)
            .recreate_container(Request::new(forced.clone()))
            .await;
        let mut events = begun.unwrap().into_inner();
        loop {
            let event = events.next().await.unwrap().unwrap().event;
            if let Some(Event::Progress(progress)) = event
                && progress.status.contains("waiting")
            {
                break;
            }
        }
        // Nobody else may do it meanwhile.
        let second = recreate(&agent, forced).await.failed();
        assert_eq!(
            second.reason(),
            ErrorReason::ContainerStateConflict,
            "{second:?}"
        );
        assert_ne!(place.show("{{.Id}}"), old);
        if stops {
            agent.draining().cancel();
        } else {
            let id = agent.operations().list().pop().unwrap().id;
            agent.operations().cancel(&id).unwrap();
        }
        let seen = follow(events).await;
        if stops {
            assert_eq!(seen.failed().reason(), ErrorReason::AgentStopping);
        } else {
            assert_eq!(seen.operation.state(), OperationState::Cancelled);
        }
        assert_eq!(
            place.show("{{.Id}} {{.State.Running}}"),
            format!("{old} true")
        );
        assert_eq!(place.names(), std::slice::from_ref(&place.0));
    }
}

#[tokio::test]
async fn c5_a_recreation_cut_by_kill_is_unknown_and_the_next_mends_it() {
    let place = Place::run(IMAGE, &["--network=none"], &["sleep", "1000"]);
    let old = place.show("{{.Id}}");
    let state = tempfile::tempdir().unwrap();
    let dir = [("AGENT_STATE_DIR", state.path().to_str().unwrap())];
    let forced = RecreateContainerRequest {
        force: true,
        settle: Some(prost_types::Duration {
            seconds: 3000,
            nanos: 0,
        }),
        request_id: unique("cut"),
        ..of(&place.0)
    };
    let mut first = agent_support::Agent::start(&dir);
    let mut client = ContainerServiceClient::new(first.connect(None).await);
    let begun = client.recreate_container(forced.clone()).await;
    let mut events = begun.unwrap().into_inner();
    loop {
        let event = events.next().await.unwrap().unwrap().event;
        if matches!(event, Some(Event::Progress(progress)) if progress.status.contains("waiting")) {
            break;
        }
    }
    first.child.kill().unwrap();
    first.ended();
    assert_eq!(place.names().len(), 2, "{:?}", place.names());
    let second = agent_support::Agent::start(&dir);
    let mut client = ContainerServiceClient::new(second.connect(None).await);
    let again = client.recreate_container(forced.clone()).await;
    let seen = follow(again.unwrap().into_inner()).await;
    assert_eq!(seen.operation.state(), OperationState::Unknown);
    assert_eq!(place.names().len(), 2);
    // In whatever state it was left: between the two names, too.
    docker(
        None,
        &[
            "rename",
            &place.0,
            &format!("{}.new-{}", place.0, &old[..12]),
        ],
    );
    let next = RecreateContainerRequest {
        request_id: unique("next"),
        settle: of("").settle,
        ..forced
    };
    let again = client.recreate_container(next).await;
    let seen = follow(again.unwrap().into_inner()).await;
    let id = seen.succeeded().container_id;
    assert!(
        seen.progress
            .iter()
            .any(|it| it.status.contains("left in the middle"))
    );
    assert_ne!(id, old);
    assert_eq!(
        place.show("{{.Id}} {{.State.Running}}"),
        format!("{id} true")
    );
    assert_eq!(place.names(), std::slice::from_ref(&place.0));
}

#[tokio::test]
async fn recreate_refuses_what_it_could_not_take_back() {
    let agent = agent();
    let place = Place::run(IMAGE, &["--network=none"], &["sleep", "1000"]);
    let old = place.show("{{.Id}}");
    let forced = RecreateContainerRequest {
        force: true,
        ..of(&place.0)
    };
    // Somebody has the name that the old one would get.
    let taken = format!("{}.old-{}", place.0, &old[..12]);
    docker(None, &["create", "--name", &taken, "--net=none", IMAGE]);
    let error = recreate(&agent, forced.clone()).await.failed();
    assert_eq!(error.reason(), ErrorReason::ContainerNameInUse, "{error:?}");
    assert_eq!(
        place.show("{{.Id}} {{.State.Running}}"),
        format!("{old} true")
    );
    assert_eq!(place.names().len(), 2);
    docker(None, &["pause", &place.0]);
    let error = recreate(&agent, forced).await.failed();
    docker(None, &["unpause", &place.0]);
    assert_eq!(
        error.reason(),
        ErrorReason::ContainerStateConflict,
        "{error:?}"
    );
    let brief = Place::run(IMAGE, &["--rm", "--network=none"], &["sleep", "1000"]);
    let forced = RecreateContainerRequest {
        force: true,
        ..of(&brief.0)
    };
    let error = recreate(&agent, forced).await.failed();
    assert_eq!(
        error.reason(),
        ErrorReason::ContainerStateConflict,
        "{error:?}"
    );
    let error = recreate(&agent, of("nosuchcontainer")).await.failed();
    assert_eq!(error.reason(), ErrorReason::ContainerNotFound, "{error:?}");
    let other = RecreateContainerRequest {
        image: "turbopanel-test/nosuch:1".into(),
        ..of(&place.0)
    };
    let error = recreate(&agent, other).await.failed();
    assert_eq!(error.reason(), ErrorReason::ImageNotFound, "{error:?}");
    for wrong in [
        of("../x"),
        RecreateContainerRequest {
            image: "UPPER".into(),
            ..of(&place.0)
        },
        RecreateContainerRequest {
            settle: Some(prost_types::Duration {
                seconds: 3601,
                nanos: 0,
            }),
            ..of(&place.0)
        },
        RecreateContainerRequest {
            health_limit: Some(prost_types::Duration::default()),
            ..of(&place.0)
        },
    ] {
        let refused = api(&agent).recreate_container(Request::new(wrong)).await;
        let refused = refused.err().unwrap();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    eventually("nothing runs", async || {
        agent
            .operations()
            .list()
            .iter()
            .all(|it| it.finished_at.is_some())
    })
    .await;
}
