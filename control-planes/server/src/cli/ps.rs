//! `turbopanel ps`: the containers of one agent, or of all that are connected.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::timeout;
use turbopanel_control_plane::proto::agent::{
    Container, ContainerState, ListContainersRequest, Port,
    container_service_client::ContainerServiceClient,
};

use super::{
    agents,
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::print_json,
    table::{Cell, Table},
    text,
};

const PAGE: u32 = 1000;
/// Agents that are asked at the same time.
const AT_ONCE: usize = 16;
/// How long one of many agents may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Row<'a> {
    agent: &'a str,
    id: &'a str,
    name: &'a str,
    image: &'a str,
    image_id: &'a str,
    state: &'static str,
    status: &'a str,
    created_at: Option<String>,
    command: &'a [String],
    labels: BTreeMap<&'a String, &'a String>,
    ports: Vec<PortRow<'a>>,
}

#[derive(Serialize)]
struct PortRow<'a> {
    container_port: u32,
    host_port: Option<u32>,
    host_ip: &'a str,
    protocol: &'a str,
}

/// Prints containers.
pub(crate) async fn list(
    connection: &Connection,
    agent: Option<String>,
    all: bool,
    json: bool,
) -> Result<u8, Failure> {
    let many = agent.is_none();
    let (found, outcome) = match agent {
        Some(agent) => {
            let containers = of_agent(connection, &agent, all).await?;
            (vec![(agent, containers)], Ok(0))
        }
        None => of_all(connection, all).await?,
    };
    let rows = found.iter().flat_map(|(agent, containers)| {
        containers
            .iter()
            .map(move |container| (agent.as_str(), container))
    });
    if json {
        print_json(
            &rows
                .map(|(agent, container)| row(agent, container))
                .collect::<Vec<_>>(),
        )?;
    } else {
        let head = ["AGENT", "NAME", "ID", "IMAGE", "STATUS", "AGE", "PORTS"];
        let skip = usize::from(!many);
        let mut table = Table::new(head.get(skip..).unwrap_or(&head));
        let now = SystemTime::now();
        for (agent, container) in rows {
            table.row(cells(agent, container, now).into_iter().skip(skip));
        }
        table.print()?;
    }
    outcome
}

async fn of_agent(
    connection: &Connection,
    agent: &str,
    all: bool,
) -> Result<Vec<Container>, Failure> {
    let mut client = ContainerServiceClient::new(connection.agent(agent)?);
    let mut containers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListContainersRequest {
            all,
            labels: HashMap::new(),
            name_contains: String::new(),
            page_size: PAGE,
            page_token,
        };
        let page = client.list_containers(prompt(request)).await?.into_inner();
        containers.extend(page.containers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(containers);
        }
    }
}

type Found = (Vec<(String, Vec<Container>)>, Result<u8, Failure>);

async fn of_all(connection: &Connection, all: bool) -> Result<Found, Failure> {
    let (here, away): (Vec<_>, Vec<_>) = agents::all(connection)
        .await?
        .into_iter()
        .partition(|agent| agent.connected);
    let now = SystemTime::now();
    for agent in &away {
        note(&format!(
            "agent {} is not connected; {}",
            text::safe(&agent.name),
            agents::last_seen(agent, now)
        ));
    }
    let asked = here.len();
    let answers: Vec<_> = stream::iter(here)
        .map(|agent| async move {
            let answer = timeout(PATIENCE, of_agent(connection, &agent.name, all)).await;
            (agent.name, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut found = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(Ok(containers)) => found.push((name, containers)),
            Ok(Err(failure)) => note(&format!(
                "agent {name}: {}",
                text::safe(&failure.to_string())
            )),
            Err(_) => note(&format!(
                "agent {name}: no answer within {} s",
                PATIENCE.as_secs()
            )),
        }
    }
    let failed = asked - found.len();
    let outcome = if failed > 0 {
        Err(Failure::Partly { failed, asked })
    } else {
        Ok(0)
    };
    Ok((found, outcome))
}

fn cells(agent: &str, container: &Container, now: SystemTime) -> [Cell; 7] {
    let state = state(container);
    let colour = match state {
        "running" => Colour::Good,
        "dead" | "restarting" => Colour::Bad,
        _ => Colour::Plain,
    };
    let status = if container.status.is_empty() {
        state
    } else {
        &container.status
    };
    let age = container
        .created_at
        .as_ref()
        .map(|at| figures::age(moment::since(at, now)));
    let id: String = container.id.chars().take(12).collect();
    let ports: Vec<String> = container.ports.iter().map(port).collect();
    [
        agent.into(),
        container.name.as_str().into(),
        id.into(),
        container.image.as_str().into(),
        Cell::new(status, colour),
        age.unwrap_or_default().into(),
        ports.join(", ").into(),
    ]
}

fn port(port: &Port) -> String {
    let protocol = if port.protocol.is_empty() {
        "tcp"
    } else {
        &port.protocol
    };
    let inside = format!("{}/{protocol}", port.container_port);
    match (port.host_port, port.host_ip.as_str()) {
        (0, _) => inside,
        (host, "") => format!("{host}->{inside}"),
        (host, ip) if ip.contains(':') => format!("[{ip}]:{host}->{inside}"),
        (host, ip) => format!("{ip}:{host}->{inside}"),
    }
}

fn state(container: &Container) -> &'static str {
    match container.state() {
        ContainerState::Unspecified => "unknown",
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
    }
}

fn row<'a>(agent: &'a str, container: &'a Container) -> Row<'a> {
    let port = |port: &'a Port| PortRow {
        container_port: port.container_port,
        host_port: (port.host_port != 0).then_some(port.host_port),
        host_ip: &port.host_ip,
        protocol: if port.protocol.is_empty() {
            "tcp"
        } else {
            &port.protocol
        },
    };
    Row {
        agent,
        id: &container.id,
        name: &container.name,
        image: &container.image,
        image_id: &container.image_id,
        state: state(container),
        status: &container.status,
        created_at: moment::for_programs(container.created_at.as_ref()),
        command: &container.command,
        labels: container.labels.iter().collect(),
        ports: container.ports.iter().map(port).collect(),
    }
}
