//! Stacks as the labels of containers show them, without compose.

use turbopanel_agent::proto::{
    ContainerState, ListStackContainersRequest, ListStacksRequest, Stack,
    stack_service_client::StackServiceClient,
};

use crate::{
    agent_support::{Agent, Connected},
    docker_support::{TestContainer, unique},
};

fn labelled(labels: &[(&str, &str)]) -> TestContainer {
    let labels: Vec<String> = labels
        .iter()
        .flat_map(|(name, value)| {
            [
                "-l".to_owned(),
                format!("com.docker.compose.{name}={value}"),
            ]
        })
        .collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    TestContainer::run(&labels, &["sleep", "600"])
}

async fn client(agent: &Agent) -> StackServiceClient<Connected> {
    StackServiceClient::new(agent.connect(None).await)
}

async fn listed(client: &mut StackServiceClient<Connected>, begins: &str) -> Vec<Stack> {
    let request = ListStacksRequest {
        page_size: 1000,
        ..ListStacksRequest::default()
    };
    let mut stacks = client.list_stacks(request).await.unwrap().into_inner();
    stacks.stacks.retain(|stack| stack.name.starts_with(begins));
    stacks.stacks
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_stacks_made_by_hand_are_listed() {
    let agent = Agent::start(&[]);
    let mut client = client(&agent).await;
    let name = unique("list");
    let other = format!("{name}-b");
    let _web = labelled(&[
        ("project", &name),
        ("service", "web"),
        ("container-number", "2"),
        ("project.working_dir", "/srv/old"),
        ("project.config_files", "/srv/old/compose.yaml"),
    ]);
    let _stopped = TestContainer::create(
        &[
            "-l",
            &format!("com.docker.compose.project={name}"),
            "-l",
            "com.docker.compose.service=web",
            "-l",
            "com.docker.compose.container-number=1",
        ],
        &["true"],
    );
    let _task = labelled(&[
        ("project", &name),
        ("service", "task"),
        ("oneoff", "True"),
        ("container-number", "1"),
    ]);
    let _db = labelled(&[
        ("project", &name),
        ("service", "db"),
        ("container-number", "1"),
        ("project.working_dir", "/srv/app"),
        ("project.config_files", "/srv/app/a.yaml,/srv/app/b.yaml"),
    ]);
    let _other = labelled(&[("project", &other)]);
    // These are no stacks' names, nor a service's.
    let bad = ["--help", "../x", "UPPER", "a b", ""];
    let _bad: Vec<_> = bad
        .iter()
        .map(|name| labelled(&[("project", name), ("service", "--privileged")]))
        .collect();

    let stacks = listed(&mut client, &name).await;
    let names: Vec<&str> = stacks.iter().map(|stack| stack.name.as_str()).collect();
    assert_eq!(names, [&name, &other]);
    let stack = &stacks[0];
    assert_eq!((stack.containers, stack.running), (3, 2));
    let services: Vec<_> = stack
        .services
        .iter()
        .map(|service| (service.name.as_str(), service.containers, service.running))
        .collect();
    assert_eq!(services, [("db", 1, 1), ("web", 2, 1)]);
    // The newest container's labels say it.
    assert_eq!(stack.working_dir, "/srv/app");
    assert_eq!(stack.config_files, ["/srv/app/a.yaml", "/srv/app/b.yaml"]);
    assert!(stack.created_at.is_some());
    for wrong in bad {
        assert!(
            listed(&mut client, "")
                .await
                .iter()
                .all(|stack| stack.name != wrong)
        );
    }

    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListStackContainersRequest {
            stack: name.clone(),
            page_size: 2,
            page_token,
        };
        let page = client
            .list_stack_containers(request)
            .await
            .unwrap()
            .into_inner();
        found.extend(page.containers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let found: Vec<_> = found
        .iter()
        .map(|member| {
            let state = member.container.as_ref().unwrap().state();
            (
                member.service.as_str(),
                member.number,
                member.one_off,
                state,
            )
        })
        .collect();
    let (running, created) = (ContainerState::Running, ContainerState::Created);
    assert_eq!(
        found,
        [
            ("db", 1, false, running),
            ("task", 1, true, running),
            ("web", 1, false, created),
            ("web", 2, false, running),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_wrong_names_never_reach_the_engine() {
    let agent = Agent::start(&[("DOCKER_HOST", "unix:///nowhere.sock")]);
    let mut client = client(&agent).await;
    for name in [
        "",
        "--help",
        "-f",
        "../volumes/x",
        "A",
        "a=b",
        "a\0",
        &"a".repeat(1 << 20),
    ] {
        let request = ListStackContainersRequest {
            stack: name.to_owned(),
            ..ListStackContainersRequest::default()
        };
        let refused = client.list_stack_containers(request).await.unwrap_err();
        assert_eq!(
            crate::command_support::reason(&refused),
            "INVALID_FIELD",
            "{name:.20}"
        );
    }
    let request = ListStackContainersRequest {
        stack: "web".to_owned(),
        ..ListStackContainersRequest::default()
    };
    let away = client.list_stack_containers(request).await.unwrap_err();
    assert_eq!(crate::command_support::reason(&away), "ENGINE_UNREACHABLE");
}
