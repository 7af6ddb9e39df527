//! `turbopanel start|stop|restart|rm`: the life of a container.

use std::time::Duration;

use tonic::Request;
use turbopanel_control_plane::proto::agent::{
    RemoveContainerRequest, RestartContainerRequest, StartContainerRequest, StopContainerRequest,
    container_service_client::ContainerServiceClient,
};
use turbopanel_tunnel::Channel;

use super::{
    connection::{ANSWER, Connection, prompt},
    failure::Failure,
    moment, note,
    output::print_json,
    text,
};

/// The engine's own grace, and more than that for a container that has another.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  turbopanel start web-2/db")]
pub(crate) struct Start {
    /// The agent and its container.
    #[arg(value_name = "AGENT/CONTAINER", value_parser = text::container)]
    pub(crate) container: text::Container,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  turbopanel stop web-2/db\n  turbopanel restart web-2/db --grace 30s"
)]
pub(crate) struct Stop {
    /// The agent and its container.
    #[arg(value_name = "AGENT/CONTAINER", value_parser = text::container)]
    container: text::Container,
    /// How long it may take before SIGKILL [default: the container's own, else 10s].
    #[arg(long, value_name = "TIME", value_parser = moment::span)]
    grace: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  turbopanel rm web-2/old\n  turbopanel rm web-2/old --force --volumes"
)]
pub(crate) struct Remove {
    /// The agent and its container.
    #[arg(value_name = "AGENT/CONTAINER", value_parser = text::container)]
    container: text::Container,
    /// Kills it first when it runs.
    #[arg(long, short)]
    force: bool,
    /// Also removes its anonymous volumes.
    #[arg(long, short)]
    volumes: bool,
}

type Client = ContainerServiceClient<Channel>;

fn client(connection: &Connection, container: &text::Container) -> Result<Client, Failure> {
    Ok(ContainerServiceClient::new(
        connection.agent(&container.agent)?,
    ))
}

/// Starts a container.
pub(crate) async fn start(
    connection: &Connection,
    container: text::Container,
    json: bool,
) -> Result<u8, Failure> {
    let request = StartContainerRequest {
        container: container.name.clone(),
    };
    let mut client = client(connection, &container)?;
    let started = client.start_container(prompt(request)).await?;
    let already = started.into_inner().already_running;
    done(
        &container,
        "started",
        Some(("already_running", already)),
        json,
    )
}

/// Stops a container.
pub(crate) async fn stop(connection: &Connection, args: Stop, json: bool) -> Result<u8, Failure> {
    let request = StopContainerRequest {
        container: args.container.name.clone(),
        grace: args.grace.and_then(|grace| grace.try_into().ok()),
    };
    let mut client = client(connection, &args.container)?;
    let stopped = client.stop_container(patient(request, args.grace)).await?;
    let already = stopped.into_inner().already_stopped;
    done(
        &args.container,
        "stopped",
        Some(("already_stopped", already)),
        json,
    )
}

/// Stops and starts a container.
pub(crate) async fn restart(
    connection: &Connection,
    args: Stop,
    json: bool,
) -> Result<u8, Failure> {
    let request = RestartContainerRequest {
        container: args.container.name.clone(),
        grace: args.grace.and_then(|grace| grace.try_into().ok()),
    };
    let mut client = client(connection, &args.container)?;
    client
        .restart_container(patient(request, args.grace))
        .await?;
    done(&args.container, "restarted", None, json)
}

/// Removes a container.
pub(crate) async fn remove(
    connection: &Connection,
    args: Remove,
    json: bool,
) -> Result<u8, Failure> {
    let request = RemoveContainerRequest {
        container: args.container.name.clone(),
        force: args.force,
        remove_volumes: args.volumes,
    };
    let mut client = client(connection, &args.container)?;
    client.remove_container(patient(request, None)).await?;
    done(&args.container, "removed", None, json)
}

/// A request whose answer comes after a grace.
fn patient<T>(message: T, grace: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(grace.unwrap_or(GRACE) + ANSWER);
    request
}

fn done(
    container: &text::Container,
    what: &str,
    already: Option<(&str, bool)>,
    json: bool,
) -> Result<u8, Failure> {
    let text::Container { agent, name } = container;
    if json {
        let mut value = serde_json::json!({ "agent": agent, "container": name });
        if let (Some((key, already)), Some(object)) = (already, value.as_object_mut()) {
            object.insert(key.to_owned(), already.into());
        }
        print_json(&value)?;
    } else {
        let was = match already {
            Some((_, true)) => "was already ",
            _ => "",
        };
        note(&format!("{agent}/{} {was}{what}", text::safe(name)));
    }
    Ok(0)
}
