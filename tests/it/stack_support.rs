//! Stacks for tests, with the host's real compose plugin.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Streaming;
use turbopanel_agent::proto::{
    DownStackRequest, ListStackContainersRequest, Operation, OperationEvent, StackFile, StackFiles,
    UpStackRequest, operation_event::Event, operation_service_client::OperationServiceClient,
    stack_service_client::StackServiceClient,
};

use crate::{
    agent_support::{Agent, Connected},
    docker_support::{docker, unique},
};

pub type Client = StackServiceClient<Connected>;

/// An agent, and a stack that is gone at the end.
pub struct Rig {
    pub agent: Agent,
    pub client: Client,
    pub operations: OperationServiceClient<Connected>,
    pub stack: String,
    pub state: TempDir,
    settings: Vec<(String, String)>,
}

impl Rig {
    pub async fn start(what: &str) -> Self {
        Self::start_with(what, &[]).await
    }

    pub async fn start_with(what: &str, settings: &[(&str, &str)]) -> Self {
        let state = TempDir::new().unwrap();
        let mut all: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let dir = state.path().to_str().unwrap().to_owned();
        all.push(("AGENT_STATE_DIR".to_owned(), dir));
        let agent = agent(&all);
        Self {
            client: StackServiceClient::new(agent.connect(None).await),
            operations: OperationServiceClient::new(agent.connect(None).await),
            agent,
            stack: unique(what),
            state,
            settings: all,
        }
    }

    /// Kills the agent, and starts another one over the same state.
    pub async fn restart(&mut self) {
        self.agent.child.kill().unwrap();
        self.agent.child.wait().unwrap();
        self.agent = agent(&self.settings);
        self.client = StackServiceClient::new(self.agent.connect(None).await);
        self.operations = OperationServiceClient::new(self.agent.connect(None).await);
    }

    pub fn up(&self, files: Option<StackFiles>) -> UpStackRequest {
        UpStackRequest {
            stack: self.stack.clone(),
            files,
            ..UpStackRequest::default()
        }
    }

    pub async fn brought_up(&mut self, request: UpStackRequest) -> Ended {
        let events = self.client.up_stack(request).await.unwrap();
        ended(events.into_inner()).await
    }

    pub async fn taken_down(&mut self, request: DownStackRequest) -> Ended {
        let request = DownStackRequest {
            stack: self.stack.clone(),
            ..request
        };
        let events = self.client.down_stack(request).await.unwrap();
        ended(events.into_inner()).await
    }

    /// Ids and whether they run, by service.
    pub async fn containers(&mut self) -> HashMap<String, (String, bool)> {
        let request = ListStackContainersRequest {
            stack: self.stack.clone(),
            ..ListStackContainersRequest::default()
        };
        let found = self.client.list_stack_containers(request).await.unwrap();
        let found = found.into_inner().containers.into_iter();
        found
            .map(|member| {
                let container = member.container.unwrap();
                let running = container.status.starts_with("Up");
                (member.service, (container.id, running))
            })
            .collect()
    }

    /// Where the stack's files lie.
    pub fn folder(&self) -> PathBuf {
        self.state.path().join("stacks").join(&self.stack)
    }
}

fn agent(settings: &[(String, String)]) -> Agent {
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Agent::start(&settings)
}

impl Drop for Rig {
    fn drop(&mut self) {
        remove(&self.stack);
    }
}

/// Removes everything of a stack.
pub fn remove(stack: &str) {
    let filter = format!("label=com.docker.compose.project={stack}");
    for (list, remove) in [
        (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
        (&["network", "ls", "-q"], &["network", "rm"]),
        (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
    ] {
        let found = docker(None, &[list, &["--filter", &filter]].concat());
        let found: Vec<&str> = found.split_whitespace().collect();
        if !found.is_empty() {
            let arguments = [remove, &found[..]].concat();
            let _ = std::process::Command::new("docker")
                .args(arguments)
                .output();
        }
    }
}

/// How an operation ended, and what was seen of it.
#[derive(Debug)]
pub struct Ended {
    pub events: Vec<OperationEvent>,
    pub operation: Operation,
}

impl Ended {
    /// What was told of an item.
    pub fn told(&self, item: &str, status: &str) -> bool {
        self.events.iter().any(|event| {
            matches!(&event.event, Some(Event::Progress(progress)) if progress.item == item && progress.status == status)
        })
    }

    pub fn printed(&self) -> String {
        let printed = self.events.iter().filter_map(|event| match &event.event {
            Some(Event::Output(output)) => Some(output.content.to_vec()),
            _ => None,
        });
        String::from_utf8(printed.flatten().collect()).unwrap()
    }

    /// The reason of its failure, its message, and its variables.
    pub fn failure(&self) -> (&'static str, String, HashMap<String, String>) {
        let error = self.operation.error.clone();
        let error = error.unwrap_or_else(|| panic!("{:?}", self.operation));
        (error.reason().as_str_name(), error.message, error.metadata)
    }
}

/// Follows an operation to its end.
pub async fn ended(mut events: Streaming<OperationEvent>) -> Ended {
    let mut seen = Vec::new();
    let following = async {
        while let Some(event) = events.message().await.unwrap() {
            seen.push(event);
        }
    };
    timeout(Duration::from_secs(90), following).await.unwrap();
    match seen.last().unwrap().event.clone() {
        Some(Event::Operation(operation)) => Ended {
            events: seen,
            operation,
        },
        other => panic!("the last event is {other:?}"),
    }
}

pub fn file(name: &str, content: &str) -> StackFile {
    StackFile {
        name: name.to_owned(),
        content: content.to_owned().into(),
        executable: false,
    }
}

pub fn files(files: &[(&str, &str)]) -> StackFiles {
    StackFiles {
        files: files
            .iter()
            .map(|(name, content)| file(name, content))
            .collect(),
        ..StackFiles::default()
    }
}
