//! Parses a request for a new container. What passes here holds nothing that the engine could
//! take for something else.

use std::net::IpAddr;

use tonic::Status;

use super::{create_host, resources};
use crate::{
    engines::docker::{
        Signal,
        container::{Port, Restart},
        create::{Network, NewContainer},
        names::NetworkName,
        networks::Endpoint,
    },
    proto::{self, CreateContainerRequest, restart_policy::Mode},
    services::{error::invalid, labels, maybe_named, named, network::endpoint},
};

pub(super) fn parse(mut request: CreateContainerRequest) -> Result<NewContainer, Status> {
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
    let stop_signal: Option<Signal> = maybe_named("stop_signal", &request.stop_signal)?;
    let stop_timeout = super::grace(request.stop_timeout)?;
    let host = create_host::parse(&mut request)?;
    let mut ports = request
        .ports
        .into_iter()
        .map(port)
        .collect::<Result<Vec<_>, _>>()?;
    ranges(request.port_ranges, &mut ports)?;
    let exposed = request.exposed_ports.into_iter().map(|exposed| {
        let exposed = port(exposed)?;
        Ok::<_, Status>(format!("{}/{}", exposed.container_port, exposed.protocol))
    });
    let mut resources = request.resources.unwrap_or_default();
    same(
        "memory_limit_bytes",
        request.memory_limit_bytes,
        &mut resources.memory_limit_bytes,
    )?;
    same(
        "cpu_limit_milli",
        request.cpu_limit_milli,
        &mut resources.cpu_limit_milli,
    )?;
    let (network, endpoints) = networks(&request.network, request.networks)?;
    Ok(NewContainer {
        name: maybe_named("name", &request.name)?,
        environment: request
            .environment
            .into_iter()
            .map(variable)
            .collect::<Result<_, _>>()?,
        ports,
        exposed: exposed.collect::<Result<_, _>>()?,
        restart: request
            .restart_policy
            .map_or(Ok(Restart::No), |policy| restart(&policy))?,
        network,
        endpoints,
        resources: resources::parse(resources)?,
        health_check: request
            .health_check
            .map(create_host::health_check)
            .transpose()?,
        stop_signal: stop_signal.map(Signal::number),
        stop_timeout_s: stop_timeout.and_then(|time| i64::try_from(time.as_secs()).ok()),
        host,
        entrypoint: request.entrypoint,
        command: request.command,
        labels: request.labels,
        working_dir: request.working_dir,
        user: request.user,
        tty: request.tty,
        stdin_open: request.stdin_open,
        auto_remove: request.auto_remove,
        hostname: request.hostname,
        domain_name: request.domain_name,
        platform: request.platform,
        ..NewContainer::of(named("image", &request.image)?)
    })
}

/// One limit that may be given in two places.
fn same<T: PartialEq + Default + ToString + Copy>(
    field: &str,
    own: T,
    other: &mut Option<T>,
) -> Result<(), Status> {
    if own == T::default() {
        return Ok(());
    }
    match other {
        Some(other) if *other != own => Err(invalid(
            field,
            &own.to_string(),
            "it differs from the one in resources",
        )),
        other => {
            *other = Some(own);
            Ok(())
        }
    }
}

/// How a container is attached to each of its networks.
type Endpoints = Vec<(NetworkName, Endpoint)>;

/// The first network, and how the container is attached to each.
fn networks(
    first: &str,
    attachments: Vec<proto::NetworkAttachment>,
) -> Result<(Option<Network>, Endpoints), Status> {
    let mut endpoints = Vec::new();
    for attachment in attachments {
        let name: NetworkName = named("networks.network", &attachment.network)?;
        if endpoints.iter().any(|(known, _)| *known == name) {
            return Err(invalid("networks", name.as_str(), "name each network once"));
        }
        let endpoint = attachment.endpoint.map(endpoint::parse).transpose()?;
        endpoints.push((name, endpoint.unwrap_or_default()));
    }
    let network = match first.strip_prefix("container:") {
        Some(container) => Some(Network::Of(super::container_ref(container)?)),
        None if first.is_empty() => endpoints
            .first()
            .map(|(name, _)| Network::Named(name.clone())),
        None => {
            let name: NetworkName = named("network", first)?;
            // The engine takes the first one's place from its endpoint, so that it stands at the front.
            match endpoints.iter().position(|(known, _)| *known == name) {
                Some(at) => endpoints.swap(0, at),
                None if !endpoints.is_empty() => {
                    endpoints.insert(0, (name.clone(), Endpoint::default()));
                }
                None => {}
            }
            Some(Network::Named(name))
        }
    };
    let alone = match &network {
        Some(Network::Of(_)) => true,
        Some(Network::Named(name)) => matches!(name.as_str(), "host" | "none"),
        None => false,
    };
    if alone && endpoints.len() > usize::from(matches!(network, Some(Network::Named(_)))) {
        let mend =
            "a container on the host's, another container's or no network has no further ones";
        return Err(invalid("networks", first, mend));
    }
    Ok((network, endpoints))
}

/// Ports that follow each other, one by one.
fn ranges(ranges: Vec<proto::PortRange>, ports: &mut Vec<Port>) -> Result<(), Status> {
    const MOST: u32 = 1000;
    let mut all = 0;
    for range in ranges {
        let (first, last) = (range.container_port_first, range.container_port_last);
        let count = last
            .checked_sub(first)
            .map_or(0, |more| more.saturating_add(1));
        all += count.min(MOST + 1);
        if count == 0 || all > MOST {
            let given = format!("{first}-{last}");
            let mend = "give a first and a last port, at most 1000 in all ranges";
            return Err(invalid("port_ranges", &given, mend));
        }
        for number in 0..count {
            ports.push(port(proto::Port {
                container_port: first + number,
                host_port: match range.host_port_first {
                    0 => 0,
                    host => host.saturating_add(number),
                },
                host_ip: range.host_ip.clone(),
                protocol: range.protocol.clone(),
            })?);
        }
    }
    Ok(())
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

pub(super) fn restart(policy: &proto::RestartPolicy) -> Result<Restart, Status> {
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
