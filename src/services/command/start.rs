//! What a caller wants to run, parsed.

use std::{path::PathBuf, time::Duration};

use tonic::Status;

use crate::{
    engines::{
        docker::{exec::ExecRequest, names::ContainerRef},
        process::ProcessRequest,
    },
    proto::{CommandStart, EnvironmentVariable, command_start::Target},
    services::error::invalid,
};

/// Bytes of arguments and environment together, at most: the kernel's own limit is not far above.
const MAX_BYTES: usize = 1024 * 1024;
/// What the kernel needs for one of them besides its bytes: the end of the text, and a pointer to it.
const EACH: usize = 9;
/// Bytes of one argument or variable, at most; the kernel takes no longer one (execve(2)).
const MAX_ONE: usize = 128 * 1024 - 1;
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A command that may be started.
pub(super) struct Start {
    pub(super) target: Wanted,
    pub(super) timeout: Option<Duration>,
}

/// Where it runs, and what.
pub(super) enum Wanted {
    Host(ProcessRequest),
    Container(ExecRequest),
}

pub(super) fn parse(start: CommandStart) -> Result<Start, Status> {
    let timeout = start.timeout.map(timeout).transpose()?;
    let environment = environment(start.environment)?;
    let arguments = start.argv.iter().map(String::len);
    let variables = environment.iter();
    let variables = variables.map(|(name, value)| name.len() + 1 + value.len());
    if size("argv", arguments)? + size("environment", variables)? > MAX_BYTES {
        return Err(invalid(
            "argv",
            "",
            "arguments and environment must stay below 1 MiB together; give the rest on standard input",
        ));
    }
    if start.argv.iter().any(|argument| argument.contains('\0')) {
        return Err(invalid(
            "argv",
            "",
            "an argument must not contain a NUL character",
        ));
    }
    let mut argv = start.argv.into_iter();
    let program = argv.next().filter(|program| !program.is_empty());
    let program = program.ok_or_else(|| invalid("argv", "", "must name a program"))?;
    let working_dir = Some(start.working_dir).filter(|dir| !dir.is_empty());
    if let Some(dir) = &working_dir
        && (!dir.starts_with('/') || dir.contains('\0'))
    {
        return Err(invalid("working_dir", dir, "must be an absolute path"));
    }
    let user = Some(start.user).filter(|user| !user.is_empty());
    if let Some(user) = &user {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte);
        if user.len() > 64 || !user.bytes().all(part) {
            return Err(invalid(
                "user",
                user,
                "must be a name or a number, in a container also user:group",
            ));
        }
    }
    let target = match start.target {
        Some(Target::Host(_)) => {
            if let Some(user) = user.as_deref().filter(|user| user.contains(':')) {
                return Err(invalid(
                    "user",
                    user,
                    "on the host a group cannot be chosen; give the user alone",
                ));
            }
            Wanted::Host(ProcessRequest {
                program,
                arguments: argv.collect(),
                environment,
                working_dir: working_dir.map(PathBuf::from),
                user,
            })
        }
        Some(Target::Container(container)) => {
            let parsed: ContainerRef = container
                .parse()
                .map_err(|error| invalid("container", &container, error))?;
            Wanted::Container(ExecRequest {
                container: parsed,
                argv: std::iter::once(program).chain(argv).collect(),
                environment,
                working_dir,
                user,
                tty: false,
            })
        }
        None => return Err(invalid("target", "", "must be a container or the host")),
    };
    Ok(Start { target, timeout })
}

/// What the kernel needs for all of them, when it takes each of them.
fn size(field: &str, lengths: impl Iterator<Item = usize>) -> Result<usize, Status> {
    let mut size = 0;
    for length in lengths {
        if length > MAX_ONE {
            let mend = "each must stay below 128 KiB; give what is longer on standard input";
            return Err(invalid(field, "", mend));
        }
        size += length + EACH;
    }
    Ok(size)
}

fn timeout(timeout: prost_types::Duration) -> Result<Duration, Status> {
    let text = timeout.to_string();
    Duration::try_from(timeout)
        .ok()
        .filter(|timeout| (Duration::from_millis(1)..=MAX_TIMEOUT).contains(timeout))
        .ok_or_else(|| invalid("timeout", &text, "must be at least 1 ms and at most a year"))
}

fn environment(variables: Vec<EnvironmentVariable>) -> Result<Vec<(String, String)>, Status> {
    variables
        .into_iter()
        .map(|EnvironmentVariable { name, value }| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(invalid(
                    "environment",
                    &name,
                    "a name must not be empty and must not contain \"=\"",
                ));
            }
            if value.contains('\0') {
                return Err(invalid(
                    "environment",
                    &name,
                    "a value must not contain a NUL character",
                ));
            }
            Ok((name, value))
        })
        .collect()
}
