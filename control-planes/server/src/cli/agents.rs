//! `turbopanel agents`: who there is.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use turbopanel_control_plane::proto::control::{
    Agent, ListAgentsRequest, RemoveAgentRequest, fleet_service_client::FleetServiceClient,
};

use super::{
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::print_json,
    table::{Cell, Table},
    text,
};

const PAGE: u32 = 1000;

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    connected: bool,
    integrated: bool,
    version: &'a str,
    created_at: Option<String>,
    connected_at: Option<String>,
    last_seen_at: Option<String>,
    remote_address: &'a str,
    last_disconnect: &'a str,
    capabilities: &'a [String],
}

/// Asks for every agent, page by page.
pub(crate) async fn all(connection: &Connection) -> Result<Vec<Agent>, Failure> {
    let mut fleet = FleetServiceClient::new(connection.plane());
    let mut agents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest {
            page_size: PAGE,
            page_token,
        };
        let page = fleet.list_agents(prompt(request)).await?.into_inner();
        agents.extend(page.agents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(agents);
        }
    }
}

/// Prints every agent.
pub(crate) async fn list(connection: &Connection, json: bool) -> Result<u8, Failure> {
    let agents = all(connection).await?;
    if json {
        print_json(&agents.iter().map(row).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let now = SystemTime::now();
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "VERSION",
        "SINCE",
        "ADDRESS",
        "LAST DISCONNECT",
    ]);
    for agent in &agents {
        let since = match (&agent.connected_at, &agent.last_seen_at) {
            (Some(at), _) if agent.connected => figures::age(moment::since(at, now)),
            (_, Some(at)) if at.seconds > 0 => figures::age(moment::since(at, now)),
            _ => String::new(),
        };
        let (state, colour) = match (agent.connected, &agent.last_seen_at) {
            (true, _) => ("connected", Colour::Good),
            (false, Some(_)) => ("offline", Colour::Bad),
            (false, None) => ("never seen", Colour::Faint),
        };
        let address = if agent.integrated {
            "integrated"
        } else {
            &agent.remote_address
        };
        let why = if agent.connected {
            ""
        } else {
            &agent.last_disconnect
        };
        table.row([
            agent.name.as_str().into(),
            Cell::new(state, colour),
            agent.version.as_str().into(),
            since.into(),
            address.into(),
            why.into(),
        ]);
    }
    table.print()?;
    if agents.is_empty() {
        note(
            "There are no agents. `turbopanel token create NAME` makes the line that lets a server join.",
        );
    }
    Ok(0)
}

/// Removes one agent.
pub(crate) async fn remove(
    connection: &Connection,
    name: String,
    json: bool,
) -> Result<u8, Failure> {
    text::agent_name(&name).map_err(Failure::Argument)?;
    let mut fleet = FleetServiceClient::new(connection.plane());
    let request = RemoveAgentRequest { name: name.clone() };
    let removed = fleet.remove_agent(prompt(request)).await?.into_inner();
    if json {
        print_json(
            &serde_json::json!({ "agent": name, "revoked_tokens": removed.revoked_tokens }),
        )?;
    } else {
        let tokens = removed.revoked_tokens;
        note(&format!(
            "Removed agent {name} and revoked {tokens} of its tokens."
        ));
    }
    Ok(0)
}

/// When an agent was last there, for a sentence.
pub(crate) fn last_seen(agent: &Agent, now: SystemTime) -> String {
    match &agent.last_seen_at {
        Some(at) if now > UNIX_EPOCH => {
            format!("last seen {} ago", figures::age(moment::since(at, now)))
        }
        _ => "never seen".to_owned(),
    }
}

fn row(agent: &Agent) -> Row<'_> {
    Row {
        name: &agent.name,
        connected: agent.connected,
        integrated: agent.integrated,
        version: &agent.version,
        created_at: moment::for_programs(agent.created_at.as_ref()),
        connected_at: moment::for_programs(agent.connected_at.as_ref()),
        last_seen_at: moment::for_programs(agent.last_seen_at.as_ref()),
        remote_address: &agent.remote_address,
        last_disconnect: &agent.last_disconnect,
        capabilities: &agent.capabilities,
    }
}
