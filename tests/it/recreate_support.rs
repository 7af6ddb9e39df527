//! Containers that are recreated in tests.

use tonic::Request;
use turbopanel_agent::{
    Agent,
    proto::{RecreateContainerRequest, container_service_server::ContainerService},
    services::container::ContainerApi,
};

use crate::{
    docker_support::{IMAGE, docker, unique},
    image_support::{Seen, seen},
};

pub fn api(agent: &Agent) -> ContainerApi {
    ContainerApi::new(agent.engine().clone())
        .ended_by(agent.draining().clone())
        .operating(agent.operations().clone())
}

pub fn of(container: &str) -> RecreateContainerRequest {
    RecreateContainerRequest {
        container: container.to_owned(),
        skip_pull: true,
        settle: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        grace: Some(prost_types::Duration::default()),
        ..RecreateContainerRequest::default()
    }
}

pub async fn recreate(agent: &Agent, request: RecreateContainerRequest) -> Seen {
    seen(api(agent).recreate_container(Request::new(request)).await).await
}

/// A container, and whatever has its name with more behind it, removed at the end with its volumes.
pub struct Place(pub String);

impl Place {
    pub fn run(image: &str, options: &[&str], argv: &[&str]) -> Self {
        let place = Self(unique("recreate"));
        let first = ["run", "-d", "--name", &place.0, "--stop-timeout=1"];
        docker(None, &[&first, options, &[image], argv].concat());
        place
    }

    pub fn show(&self, format: &str) -> String {
        docker(None, &["inspect", "-f", format, &self.0])
    }

    pub fn names(&self) -> Vec<String> {
        let filter = format!("name={}", self.0);
        let names = docker(
            None,
            &["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"],
        );
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let volumes = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
        let mut kept = String::new();
        for name in self.names() {
            kept += &docker(None, &["inspect", "-f", volumes, &name]);
            kept.push(' ');
            docker(None, &["rm", "-f", "-v", &name]);
        }
        // To the engine they are named ones, since a recreation has handed them on.
        for volume in kept.split_whitespace() {
            docker(None, &["volume", "rm", "-f", volume]);
        }
    }
}

/// An image of the busybox image with these changes, under this name.
pub fn image(name: &str, changes: &[&str]) -> String {
    let container = unique("commit");
    docker(None, &["create", "--name", &container, "--net=none", IMAGE]);
    let mut args = vec!["commit"];
    for change in changes {
        args.extend(["-c", change]);
    }
    args.extend([container.as_str(), name]);
    let id = docker(None, &args);
    docker(None, &["rm", &container]);
    id
}

pub const SLEEP: &str = r#"CMD ["sleep", "1000"]"#;
