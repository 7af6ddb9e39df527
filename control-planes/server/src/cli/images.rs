//! `turbopanel images`, `pull` and `recreate`: images of an agent, and containers on newer ones.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;
use turbopanel_control_plane::proto::agent::{
    Image, ListImagesRequest, Operation, PullImageRequest, RecreateContainerRequest,
    RegistryCredentials, UserPassword, container_service_client::ContainerServiceClient,
    image_service_client::ImageServiceClient, registry_credentials::Kind,
};

use super::{
    connection::{Connection, prompt},
    failure::Failure,
    figures,
    image_args::{Images, Pull, Recreate, Registry},
    moment, note,
    output::print_json,
    progress::{Show, follow},
    stdin,
    table::Table,
};

const PAGE: u32 = 1000;
/// A password, at most.
const MOST: usize = 16 << 10;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    tags: &'a [String],
    digests: &'a [String],
    created_at: Option<String>,
    size_bytes: u64,
    labels: BTreeMap<&'a String, &'a String>,
}

/// Prints images.
pub(crate) async fn list(connection: &Connection, args: Images, json: bool) -> Result<u8, Failure> {
    let mut client = ImageServiceClient::new(connection.agent(&args.agent)?);
    let mut images = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListImagesRequest {
            all: args.all,
            reference: args.name.clone().unwrap_or_default(),
            page_size: PAGE,
            page_token,
            ..ListImagesRequest::default()
        };
        let page = client.list_images(prompt(request)).await?.into_inner();
        images.extend(page.images);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        print_json(&images.iter().map(row).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut table = Table::new(&["IMAGE", "ID", "AGE", "SIZE"]);
    let now = SystemTime::now();
    for image in &images {
        let age = image.created_at.as_ref();
        let age = age.map_or_else(String::new, |at| figures::age(moment::since(at, now)));
        let none = ["<none>".to_owned()];
        let tags = match image.tags.as_slice() {
            [] => &none[..],
            tags => tags,
        };
        let digits = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        for tag in tags {
            table.row([
                tag.as_str().into(),
                digits.get(..12).unwrap_or(digits).into(),
                age.as_str().into(),
                figures::size(image.size_bytes).into(),
            ]);
        }
    }
    table.print()?;
    Ok(0)
}

fn row(image: &Image) -> Row<'_> {
    Row {
        id: &image.id,
        tags: &image.tags,
        digests: &image.digests,
        created_at: moment::for_programs(image.created_at.as_ref()),
        size_bytes: image.size_bytes,
        labels: image.labels.iter().collect(),
    }
}

/// Pulls an image, and shows how.
pub(crate) async fn pull(connection: &Connection, args: Pull, json: bool) -> Result<u8, Failure> {
    let channel = connection.agent(&args.agent)?;
    let request = PullImageRequest {
        image: args.image,
        platform: args.platform,
        credentials: credentials(args.registry).await?,
        ..PullImageRequest::default()
    };
    let show = Show {
        json,
        detach: args.detach,
    };
    let mut client = ImageServiceClient::new(channel.clone());
    let ended = follow(channel, client.pull_image(request), show).await?;
    tell(&ended, &args.agent, json, |result| match result.unchanged {
        true => format!("{} was there already", ended.target),
        false => format!("pulled {} ({})", ended.target, result.image_id),
    });
    Ok(0)
}

/// Recreates a container, and shows how.
pub(crate) async fn recreate(
    connection: &Connection,
    args: Recreate,
    json: bool,
) -> Result<u8, Failure> {
    let channel = connection.agent(&args.container.agent)?;
    let settle = args.settle.map(prost_types::Duration::try_from);
    let request = RecreateContainerRequest {
        container: args.container.name,
        image: args.image,
        skip_pull: args.no_pull,
        force: args.force,
        settle: settle.and_then(Result::ok),
        credentials: credentials(args.registry).await?,
        ..RecreateContainerRequest::default()
    };
    let show = Show {
        json,
        detach: args.detach,
    };
    let mut client = ContainerServiceClient::new(channel.clone());
    let ended = follow(channel, client.recreate_container(request), show).await?;
    let agent = &args.container.agent;
    tell(&ended, agent, json, |result| match result.unchanged {
        true => format!(
            "{} has this image already; --force recreates it anyway",
            ended.target
        ),
        false => format!("recreated {} ({})", ended.target, result.container_id),
    });
    Ok(0)
}

/// Says in one line how it ended, to people.
fn tell(
    ended: &Operation,
    agent: &str,
    json: bool,
    line: impl Fn(&turbopanel_control_plane::proto::agent::OperationResult) -> String,
) {
    if json {
        return;
    }
    match &ended.result {
        Some(result) => {
            for warning in &result.warnings {
                note(&format!("the engine warns: {warning}"));
            }
            note(&line(result));
        }
        None => note(&format!(
            "begun; turbopanel operations watch {agent} {}",
            ended.id
        )),
    }
}

async fn credentials(registry: Registry) -> Result<Option<RegistryCredentials>, Failure> {
    let Some(username) = registry.username else {
        return Ok(None);
    };
    let mut pieces = stdin::read()?;
    let mut password = Vec::new();
    while let Some(piece) = pieces.recv().await {
        password.extend(piece.map_err(|failed| {
            Failure::Argument(format!(
                "cannot read the password from standard input: {failed}"
            ))
        })?);
        if password.len() > MOST {
            break;
        }
    }
    while password
        .last()
        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
    {
        password.pop();
    }
    let password = String::from_utf8_lossy(&password).into_owned();
    let kind = Some(Kind::UserPassword(UserPassword { username, password }));
    Ok(Some(RegistryCredentials { kind }))
}
