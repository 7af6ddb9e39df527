//! From the contract's requests to what compose is told.

use std::time::Duration;

use tonic::Status;

use crate::{
    engines::stacks::{
        files::{Content, Files, Roles},
        names::{ServiceName, StackName},
    },
    proto::{
        DownStackRequest, PullStackRequest, RestartStackRequest, StackFiles, UpStackRequest,
        down_stack_request::Images,
        up_stack_request::{Build, Pull, Recreate},
    },
    services::error::invalid,
};

/// Services that are named, at most.
const MOST_SERVICES: usize = 256;
/// The longest grace, in seconds.
const MAX_GRACE: i64 = 24 * 3600;
/// The longest time to wait for services, in seconds.
const MAX_WAIT: i64 = 7 * 24 * 3600;

pub(super) fn stack(text: &str) -> Result<StackName, Status> {
    text.parse().map_err(|wrong| invalid("stack", text, wrong))
}

pub(super) fn files(sent: Option<StackFiles>) -> Result<Option<Files>, Status> {
    let Some(sent) = sent else {
        return Ok(None);
    };
    let files = sent.files.into_iter().map(|file| {
        let content = Content {
            bytes: file.content,
            executable: file.executable,
        };
        (file.name, content)
    });
    let roles = Roles {
        compose: sent.compose_files,
        env: sent.env_files,
        profiles: sent.profiles,
    };
    let files = Files::new(files, roles);
    files
        .map(Some)
        .map_err(|wrong| invalid(wrong.field, &wrong.given, &wrong))
}

/// `docker compose up` with these options.
pub(super) fn up(request: &UpStackRequest) -> Result<Vec<String>, Status> {
    let mut command = command(&["up", "--detach"]);
    command.extend(match chosen(request.pull, "pull")? {
        Pull::Unspecified => None,
        Pull::Always => Some("--pull=always".to_owned()),
        Pull::Missing => Some("--pull=missing".to_owned()),
        Pull::Never => Some("--pull=never".to_owned()),
    });
    command.extend(match chosen(request.build, "build")? {
        Build::Unspecified => None,
        Build::Always => Some("--build".to_owned()),
        Build::Never => Some("--no-build".to_owned()),
    });
    command.extend(match chosen(request.recreate, "recreate")? {
        Recreate::Unspecified => None,
        Recreate::Always => Some("--force-recreate".to_owned()),
        Recreate::Never => Some("--no-recreate".to_owned()),
    });
    if request.remove_orphans {
        command.push("--remove-orphans".to_owned());
    }
    if request.wait {
        command.push("--wait".to_owned());
    }
    command.extend(services(&request.services)?);
    Ok(command)
}

/// How long services may be waited for.
pub(super) fn patience(request: &UpStackRequest) -> Result<Option<Duration>, Status> {
    match seconds(request.wait_timeout, "wait_timeout", MAX_WAIT)? {
        Some(seconds) if !request.wait || seconds == 0 => {
            let mend = "say wait with it, and at least 1 s";
            Err(invalid("wait_timeout", &seconds.to_string(), mend))
        }
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs()))),
    }
}

/// `docker compose down` with these options.
pub(super) fn down(request: &DownStackRequest) -> Result<Vec<String>, Status> {
    // By labels alone nothing is an orphan.
    let mut command = command(&["down", "--remove-orphans"]);
    if request.volumes {
        command.push("--volumes".to_owned());
    }
    command.extend(match chosen(request.images, "images")? {
        Images::Unspecified => None,
        Images::Local => Some("--rmi=local".to_owned()),
        Images::All => Some("--rmi=all".to_owned()),
    });
    command.extend(grace(request.grace)?);
    Ok(command)
}

/// `docker compose restart` with these options.
pub(super) fn restart(request: &RestartStackRequest) -> Result<Vec<String>, Status> {
    let mut command = command(&["restart"]);
    command.extend(grace(request.grace)?);
    command.extend(services(&request.services)?);
    Ok(command)
}

/// `docker compose pull` with these options.
pub(super) fn pull(request: &PullStackRequest) -> Result<Vec<String>, Status> {
    let mut command = command(&["pull", "--ignore-buildable"]);
    command.extend(services(&request.services)?);
    Ok(command)
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn chosen<T: TryFrom<i32>>(number: i32, field: &str) -> Result<T, Status> {
    let wrong = |_| {
        invalid(
            field,
            &number.to_string(),
            "give one of the values that the contract names",
        )
    };
    T::try_from(number).map_err(wrong)
}

fn services(names: &[String]) -> Result<Vec<String>, Status> {
    if names.len() > MOST_SERVICES {
        let mend = "name at most 256, or none for all";
        return Err(invalid("services", &names.len().to_string(), mend));
    }
    for name in names {
        let parsed: Result<ServiceName, _> = name.parse();
        parsed.map_err(|wrong| invalid("services", name, wrong))?;
    }
    Ok(names.to_vec())
}

fn grace(grace: Option<prost_types::Duration>) -> Result<Option<String>, Status> {
    let seconds = seconds(grace, "grace", MAX_GRACE)?;
    Ok(seconds.map(|seconds| format!("--timeout={seconds}")))
}

/// Whole seconds; a part of one is a whole one.
fn seconds(
    span: Option<prost_types::Duration>,
    field: &str,
    most: i64,
) -> Result<Option<i64>, Status> {
    let Some(span) = span else {
        return Ok(None);
    };
    let seconds = span.seconds.saturating_add(i64::from(span.nanos > 0));
    if span.nanos >= 0 && (0..=most).contains(&seconds) {
        return Ok(Some(seconds));
    }
    let given = format!("{} s", span.seconds);
    Err(invalid(field, &given, format!("give 0 s to {most} s")))
}
