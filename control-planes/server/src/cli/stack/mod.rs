//! `turbopanel stack`: compose projects of an agent.

pub(crate) mod args;
mod files;
mod logs;

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use turbopanel_control_plane::proto::agent::{
    ContainerState, DownStackRequest, GetStackConfigRequest, ListStackContainersRequest,
    ListStacksRequest, Operation, OperationState, PullStackRequest, RestartStackRequest, Stack,
    StackContainer, UpStackRequest, ValidateStackRequest, down_stack_request,
    stack_service_client::StackServiceClient, up_stack_request,
};
use turbopanel_tunnel::Channel;

use super::{
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::{print, print_json},
    progress::{Show, follow},
    table::{Cell, Table},
    text,
};
use args::{How, Images, Pull, StackAction, Up};

const PAGE: u32 = 1000;

/// Does what was asked for.
pub(crate) async fn run(
    connection: &Connection,
    action: StackAction,
    json: bool,
) -> Result<u8, Failure> {
    match action {
        StackAction::Ls { agent } => list(connection, &agent, json).await,
        StackAction::Ps(stack) => containers(connection, stack, json).await,
        StackAction::Logs(args) => logs::stream(connection, args, json).await,
        StackAction::Config {
            stack,
            files,
            values,
            quiet,
        } => config(connection, stack, &files, values, quiet, json).await,
        StackAction::Up(up) => bring_up(connection, up, json).await,
        StackAction::Down {
            stack,
            how,
            volumes,
            rmi,
            timeout,
            forget,
        } => {
            let channel = connection.agent(&stack.agent)?;
            let images = match rmi {
                None => down_stack_request::Images::Unspecified,
                Some(Images::Local) => down_stack_request::Images::Local,
                Some(Images::All) => down_stack_request::Images::All,
            };
            let request = DownStackRequest {
                stack: stack.name.clone(),
                request_id: how.request_id.clone(),
                volumes,
                images: images.into(),
                grace: span(timeout)?,
                forget_files: forget,
            };
            let mut client = StackServiceClient::new(channel.clone());
            let ended = follow(channel, client.down_stack(request), how.show(json)).await?;
            told(&ended, &stack.name, "is down", json)
        }
        StackAction::Restart {
            stack,
            services,
            how,
            timeout,
        } => {
            let channel = connection.agent(&stack.agent)?;
            let request = RestartStackRequest {
                stack: stack.name.clone(),
                request_id: how.request_id.clone(),
                services,
                grace: span(timeout)?,
            };
            let mut client = StackServiceClient::new(channel.clone());
            let ended = follow(channel, client.restart_stack(request), how.show(json)).await?;
            told(&ended, &stack.name, "was restarted", json)
        }
        StackAction::Pull {
            stack,
            services,
            files,
            how,
        } => {
            let channel = connection.agent(&stack.agent)?;
            let request = PullStackRequest {
                stack: stack.name.clone(),
                files: files::read(&files)?,
                request_id: how.request_id.clone(),
                services,
            };
            let mut client = StackServiceClient::new(channel.clone());
            let ended = follow(channel, client.pull_stack(request), how.show(json)).await?;
            told(&ended, &stack.name, "has its images", json)
        }
    }
}

async fn bring_up(connection: &Connection, up: Up, json: bool) -> Result<u8, Failure> {
    use up_stack_request::{Build, Pull as PullWhen, Recreate};
    let channel = connection.agent(&up.stack.agent)?;
    let pull = match up.pull {
        None => PullWhen::Unspecified,
        Some(Pull::Always) => PullWhen::Always,
        Some(Pull::Missing) => PullWhen::Missing,
        Some(Pull::Never) => PullWhen::Never,
    };
    let build = match (up.build, up.no_build) {
        (true, _) => Build::Always,
        (_, true) => Build::Never,
        _ => Build::Unspecified,
    };
    let recreate = match (up.force_recreate, up.no_recreate) {
        (true, _) => Recreate::Always,
        (_, true) => Recreate::Never,
        _ => Recreate::Unspecified,
    };
    let request = UpStackRequest {
        stack: up.stack.name.clone(),
        files: files::read(&up.files)?,
        request_id: up.how.request_id.clone(),
        services: up.services,
        pull: pull.into(),
        build: build.into(),
        recreate: recreate.into(),
        remove_orphans: up.remove_orphans,
        wait: up.wait,
        wait_timeout: span(up.wait_timeout)?,
    };
    let mut client = StackServiceClient::new(channel.clone());
    let ended = follow(channel, client.up_stack(request), up.how.show(json)).await?;
    told(&ended, &up.stack.name, "is up", json)
}

impl How {
    fn show(&self, json: bool) -> Show {
        Show {
            json,
            detach: self.detach,
        }
    }
}

/// Tells people how it ended; programs have its events.
fn told(operation: &Operation, stack: &str, done: &str, json: bool) -> Result<u8, Failure> {
    if json {
        return Ok(0);
    }
    if operation.state() == OperationState::Running {
        print(format!("{}\n", text::safe(&operation.id)).as_bytes())?;
        return Ok(0);
    }
    let result = operation.result.clone().unwrap_or_default();
    for warning in &result.warnings {
        note(&format!("warning: {}", text::safe(warning)));
    }
    let unchanged = if result.unchanged {
        "; nothing had to be changed"
    } else {
        ""
    };
    note(&format!("stack {} {done}{unchanged}", text::safe(stack)));
    Ok(0)
}

fn span(span: Option<Duration>) -> Result<Option<prost_types::Duration>, Failure> {
    let span = span.map(prost_types::Duration::try_from).transpose();
    span.map_err(|_| Failure::Argument("that time is too long".to_owned()))
}

async fn config(
    connection: &Connection,
    stack: args::Stack,
    named: &args::Files,
    include_values: bool,
    quiet: bool,
    json: bool,
) -> Result<u8, Failure> {
    let mut client = StackServiceClient::new(connection.agent(&stack.agent)?);
    let files = files::read(named)?;
    let warn = |warnings: &[String]| {
        for warning in warnings {
            note(&format!("warning: {}", text::safe(warning)));
        }
    };
    if quiet {
        let request = ValidateStackRequest {
            stack: stack.name,
            files,
        };
        let checked = client.validate_stack(prompt(request)).await?.into_inner();
        if json {
            print_json(&json!({ "services": checked.services, "warnings": checked.warnings }))?;
        } else {
            warn(&checked.warnings);
        }
        return Ok(0);
    }
    let request = GetStackConfigRequest {
        stack: stack.name,
        files,
        include_values,
    };
    let answer = client.get_stack_config(prompt(request)).await?.into_inner();
    let config: Value =
        serde_json::from_str(&answer.config).map_err(|_| Failure::Answer("configuration"))?;
    if json {
        print_json(&json!({ "config": config, "warnings": answer.warnings }))?;
    } else {
        warn(&answer.warnings);
        print(format!("{config:#}\n").as_bytes())?;
    }
    Ok(0)
}

async fn list(connection: &Connection, agent: &str, json: bool) -> Result<u8, Failure> {
    let mut client = StackServiceClient::new(connection.agent(agent)?);
    let stacks = all(&mut client).await?;
    if json {
        let rows: Vec<Value> = stacks.iter().map(stack_row).collect();
        print_json(&rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "RUNNING", "SERVICES", "AGE", "FILES"]);
    let now = SystemTime::now();
    for stack in &stacks {
        let colour = match stack.running {
            0 => Colour::Faint,
            running if running < stack.containers => Colour::Bad,
            _ => Colour::Good,
        };
        let running = format!("{}/{}", stack.running, stack.containers);
        let services: Vec<&str> = stack
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        let age = stack.created_at.as_ref();
        let age = age.map(|at| figures::age(moment::since(at, now)));
        let files = match stack.config_files.as_slice() {
            [] if stack.kept => "kept by the agent".to_owned(),
            files => files.join(", "),
        };
        table.row([
            stack.name.as_str().into(),
            Cell::new(&running, colour),
            services.join(", ").into(),
            age.unwrap_or_default().into(),
            files.into(),
        ]);
    }
    table.print()?;
    Ok(0)
}

async fn all(client: &mut StackServiceClient<Channel>) -> Result<Vec<Stack>, Failure> {
    let mut stacks = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListStacksRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client.list_stacks(prompt(request)).await?.into_inner();
        stacks.extend(page.stacks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(stacks);
        }
    }
}

async fn containers(
    connection: &Connection,
    stack: args::Stack,
    json: bool,
) -> Result<u8, Failure> {
    let mut client = StackServiceClient::new(connection.agent(&stack.agent)?);
    let found = members(&mut client, &stack.name).await?;
    if json {
        let rows: Vec<Value> = found.iter().map(container_row).collect();
        print_json(&rows)?;
        return Ok(0);
    }
    let mut table = Table::new(&["SERVICE", "NAME", "ID", "IMAGE", "STATUS"]);
    for member in &found {
        let container = member.container.clone().unwrap_or_default();
        let colour = match container.state() {
            ContainerState::Running => Colour::Good,
            ContainerState::Dead | ContainerState::Restarting => Colour::Bad,
            _ => Colour::Plain,
        };
        let id: String = container.id.chars().take(12).collect();
        table.row([
            member.service.as_str().into(),
            container.name.as_str().into(),
            id.into(),
            container.image.as_str().into(),
            Cell::new(&container.status, colour),
        ]);
    }
    table.print()?;
    if found.is_empty() {
        note("It has no containers. `turbopanel stack ls` shows the stacks that there are.");
    }
    Ok(0)
}

/// All containers of a stack.
async fn members(
    client: &mut StackServiceClient<Channel>,
    stack: &str,
) -> Result<Vec<StackContainer>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListStackContainersRequest {
            stack: stack.to_owned(),
            page_size: PAGE,
            page_token,
        };
        let page = client
            .list_stack_containers(prompt(request))
            .await?
            .into_inner();
        found.extend(page.containers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

fn stack_row(stack: &Stack) -> Value {
    let services = stack.services.iter().map(|service| {
        json!({
            "name": service.name,
            "image": service.image,
            "containers": service.containers,
            "running": service.running,
        })
    });
    json!({
        "name": stack.name,
        "containers": stack.containers,
        "running": stack.running,
        "services": services.collect::<Vec<_>>(),
        "created_at": moment::for_programs(stack.created_at.as_ref()),
        "config_files": stack.config_files,
        "working_dir": stack.working_dir,
        "kept": stack.kept,
    })
}

fn container_row(member: &StackContainer) -> Value {
    let container = member.container.clone().unwrap_or_default();
    let state = container.state().as_str_name();
    let state = state.trim_start_matches("CONTAINER_STATE_").to_lowercase();
    json!({
        "service": member.service,
        "number": member.number,
        "one_off": member.one_off,
        "id": container.id,
        "name": container.name,
        "image": container.image,
        "state": if state == "unspecified" { "unknown" } else { &state },
        "status": container.status,
        "created_at": moment::for_programs(container.created_at.as_ref()),
    })
}
