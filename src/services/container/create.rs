//! Parses a request for a new container. What passes here holds nothing that the engine could
//! take for something else.

use std::net::IpAddr;

use tonic::Status;

use crate::{
    engines::docker::{
        container::{Port, Restart},
        containers::NewContainer,
    },
    proto::{self, CreateContainerRequest, restart_policy::Mode},
    services::{error::invalid, labels, named},
};

pub(super) fn parse(request: CreateContainerRequest) -> Result<NewContainer, Status> {
    labels::check(&request.labels)?;
    for (field, texts) in [
        ("entrypoint", &request.entrypoint),
        ("command", &request.command),
    ] {
        if let Some(text) = texts.iter().find(|text| text.contains('\0')) {
            return Err(invalid(field, text, "leave out the zero byte"));
        }
    }
    if !request.working_dir.is_empty()
        && (!request.working_dir.starts_with('/') || request.working_dir.contains('\0'))
    {
        return Err(invalid(
            "working_dir",
            &request.working_dir,
            "give an absolute path",
        ));
    }
    if !is_user(&request.user) {
        return Err(invalid(
            "user",
            &request.user,
            "give \"name\", \"uid\", \"user:group\" or \"uid:gid\"",
        ));
    }
    let optional = |text: String| (!text.is_empty()).then_some(text);
    Ok(NewContainer {
        name: optional(request.name)
            .map(|name| named("name", &name))
            .transpose()?,
        image: named("image", &request.image)?,
        network: optional(request.network)
            .map(|network| named("network", &network))
            .transpose()?,
        environment: request
            .environment
            .into_iter()
            .map(variable)
            .collect::<Result<_, _>>()?,
        ports: request
            .ports
            .into_iter()
            .map(port)
            .collect::<Result<_, _>>()?,
        restart: request
            .restart_policy
            .map_or(Ok(Restart::No), |policy| restart(&policy))?,
        memory_bytes: match request.memory_limit_bytes {
            0 => None,
            bytes => Some(i64::try_from(bytes).map_err(|_| {
                invalid(
                    "memory_limit_bytes",
                    &bytes.to_string(),
                    "give less than 2^63",
                )
            })?),
        },
        cpu_milli: (request.cpu_limit_milli > 0).then_some(request.cpu_limit_milli),
        entrypoint: request.entrypoint,
        command: request.command,
        labels: request.labels,
        working_dir: request.working_dir,
        user: request.user,
        tty: request.tty,
        stdin_open: request.stdin_open,
        auto_remove: request.auto_remove,
    })
}

fn is_user(text: &str) -> bool {
    text.len() <= 255
        && !text.starts_with(':')
        && text.split(':').count() <= 2
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-$:@".contains(&byte))
}

fn variable(variable: proto::EnvironmentVariable) -> Result<(String, String), Status> {
    if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
        return Err(invalid(
            "environment",
            &variable.name,
            "a variable's name is not empty and has no \"=\"",
        ));
    }
    if variable.value.contains('\0') {
        // The value may be a secret.
        return Err(invalid(
            "environment",
            &variable.name,
            "leave the zero byte out of its value",
        ));
    }
    Ok((variable.name, variable.value))
}

fn port(port: proto::Port) -> Result<Port, Status> {
    let number = |port: u32| {
        u16::try_from(port)
            .map_err(|_| invalid("ports", &port.to_string(), "a port is at most 65535"))
    };
    if port.container_port == 0 {
        return Err(invalid("ports", "0", "give container_port, 1 to 65535"));
    }
    let protocol = match port.protocol.as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        other => {
            return Err(invalid(
                "ports",
                other,
                "a protocol is \"tcp\", \"udp\" or \"sctp\"",
            ));
        }
    };
    if !port.host_ip.is_empty() && port.host_ip.parse::<IpAddr>().is_err() {
        return Err(invalid("ports", &port.host_ip, "host_ip is an address"));
    }
    Ok(Port {
        container_port: number(port.container_port)?,
        host_port: number(port.host_port)?,
        host_ip: port.host_ip,
        protocol: protocol.to_owned(),
    })
}

fn restart(policy: &proto::RestartPolicy) -> Result<Restart, Status> {
    let most = policy.maximum_retry_count;
    let mode = Mode::try_from(policy.mode);
    if most > 0 && mode != Ok(Mode::OnFailure) {
        return Err(invalid(
            "restart_policy",
            &most.to_string(),
            "maximum_retry_count goes with MODE_ON_FAILURE only",
        ));
    }
    match mode {
        Ok(Mode::Unspecified | Mode::No) => Ok(Restart::No),
        Ok(Mode::Always) => Ok(Restart::Always),
        Ok(Mode::OnFailure) => Ok(Restart::OnFailure(most)),
        Ok(Mode::UnlessStopped) => Ok(Restart::UnlessStopped),
        Err(_) => Err(invalid(
            "restart_policy",
            &policy.mode.to_string(),
            "this mode is not known here",
        )),
    }
}
