//! `turbopanel volumes`: the volumes of an agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use serde::Serialize;
use turbopanel_control_plane::proto::agent::{
    ListVolumesRequest, Volume, volume_service_client::VolumeServiceClient,
};

use super::{
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::print_json,
    table::Table,
    text,
};

const PAGE: u32 = 1000;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  turbopanel volumes web-2\n  turbopanel volumes web-2 --unused"
)]
pub(crate) struct Volumes {
    /// The agent's name.
    agent: String,
    /// Only volumes that no container has.
    #[arg(long)]
    unused: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    agent: &'a str,
    name: &'a str,
    driver: &'a str,
    scope: &'a str,
    mountpoint: &'a str,
    created_at: Option<String>,
    labels: BTreeMap<&'a String, &'a String>,
}

/// Prints volumes.
pub(crate) async fn list(
    connection: &Connection,
    args: Volumes,
    json: bool,
) -> Result<u8, Failure> {
    let Volumes { agent, unused } = args;
    let mut client = VolumeServiceClient::new(connection.agent(&agent)?);
    let (mut volumes, mut page_token) = (Vec::new(), String::new());
    let mut warnings = BTreeSet::new();
    loop {
        let request = ListVolumesRequest {
            page_size: PAGE,
            page_token,
            unused,
            ..ListVolumesRequest::default()
        };
        let page = client.list_volumes(prompt(request)).await?.into_inner();
        volumes.extend(page.volumes);
        warnings.extend(page.warnings);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    for warning in &warnings {
        note(&format!("warning: {}", text::safe(warning)));
    }
    if json {
        let rows: Vec<_> = volumes.iter().map(|volume| row(&agent, volume)).collect();
        print_json(&rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "DRIVER", "AGE", "MOUNTPOINT"]);
    let now = SystemTime::now();
    for volume in &volumes {
        let created = volume.created_at.as_ref();
        let age = created.map(|at| figures::age(moment::since(at, now)));
        table.row([
            volume.name.as_str().into(),
            volume.driver.as_str().into(),
            age.unwrap_or_default().into(),
            volume.mountpoint.as_str().into(),
        ]);
    }
    table.print()?;
    Ok(0)
}

fn row<'a>(agent: &'a str, volume: &'a Volume) -> Row<'a> {
    Row {
        agent,
        name: &volume.name,
        driver: &volume.driver,
        scope: &volume.scope,
        mountpoint: &volume.mountpoint,
        created_at: moment::for_programs(volume.created_at.as_ref()),
        labels: volume.labels.iter().collect(),
    }
}
