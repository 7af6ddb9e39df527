//! `turbopanel networks`: the networks of an agent.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use turbopanel_control_plane::proto::agent::{
    ListNetworksRequest, Network, network_service_client::NetworkServiceClient,
};

use super::{
    connection::{Connection, prompt},
    failure::Failure,
    moment,
    output::print_json,
    table::Table,
};

const PAGE: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  turbopanel networks web-2")]
pub(crate) struct Networks {
    /// The agent's name.
    pub(crate) agent: String,
}

#[derive(Serialize)]
struct Row<'a> {
    agent: &'a str,
    id: &'a str,
    name: &'a str,
    driver: &'a str,
    scope: &'a str,
    internal: bool,
    ipv6: bool,
    created_at: Option<String>,
    subnets: Vec<&'a str>,
    labels: BTreeMap<&'a String, &'a String>,
}

/// Prints networks.
pub(crate) async fn list(connection: &Connection, agent: &str, json: bool) -> Result<u8, Failure> {
    let mut client = NetworkServiceClient::new(connection.agent(agent)?);
    let (mut networks, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListNetworksRequest {
            labels: HashMap::new(),
            page_size: PAGE,
            page_token,
            ..ListNetworksRequest::default()
        };
        let page = client.list_networks(prompt(request)).await?.into_inner();
        networks.extend(page.networks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        let rows: Vec<_> = networks.iter().map(|network| row(agent, network)).collect();
        print_json(&rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "ID", "DRIVER", "SCOPE", "SUBNETS", "INTERNAL"]);
    for network in &networks {
        let id: String = network.id.chars().take(12).collect();
        let internal = if network.internal { "yes" } else { "" };
        table.row([
            network.name.as_str().into(),
            id.into(),
            network.driver.as_str().into(),
            network.scope.as_str().into(),
            subnets(network).join(", ").into(),
            internal.into(),
        ]);
    }
    table.print()?;
    Ok(0)
}

fn subnets(network: &Network) -> Vec<&str> {
    let pools = network.ipam.iter().flat_map(|ipam| &ipam.pools);
    pools.map(|pool| pool.subnet.as_str()).collect()
}

fn row<'a>(agent: &'a str, network: &'a Network) -> Row<'a> {
    Row {
        agent,
        id: &network.id,
        name: &network.name,
        driver: &network.driver,
        scope: &network.scope,
        internal: network.internal,
        ipv6: network.ipv6,
        created_at: moment::for_programs(network.created_at.as_ref()),
        subnets: subnets(network),
        labels: network.labels.iter().collect(),
    }
}
