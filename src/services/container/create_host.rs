//! Parses what of a new container has to do with its host.

use std::{net::IpAddr, time::Duration};

use tonic::Status;

use crate::{
    engines::docker::create_host::{Device, DeviceRequest, HealthCheck, Host, Mount, MountSource},
    engines::docker::names::ContainerRef,
    proto::{self, CreateContainerRequest, health_check::Test, mount::Source},
    services::{error::invalid, labels, maybe_named, named},
};

/// Takes what is the host's out of a request.
pub(super) fn parse(request: &mut CreateContainerRequest) -> Result<Host, Status> {
    use std::mem::take;
    for (field, text, hosts) in [
        (
            "ipc_mode",
            &request.ipc_mode,
            &["none", "private", "shareable", "host"][..],
        ),
        ("pid_mode", &request.pid_mode, &["host"]),
        ("uts_mode", &request.uts_mode, &["host"]),
        ("userns_mode", &request.userns_mode, &["host"]),
        (
            "cgroupns_mode",
            &request.cgroupns_mode,
            &["host", "private"],
        ),
    ] {
        let shared = matches!(field, "ipc_mode" | "pid_mode");
        namespace(field, text, hosts, shared)?;
    }
    for (field, names) in [
        ("capabilities_add", &request.capabilities_add),
        ("capabilities_drop", &request.capabilities_drop),
    ] {
        let fits = |name: &&String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
        };
        if let Some(wrong) = names.iter().find(|name| !fits(name)) {
            return Err(invalid(field, wrong, "write it as \"NET_ADMIN\""));
        }
    }
    if let Some(wrong) = request
        .dns_servers
        .iter()
        .find(|text| text.parse::<IpAddr>().is_err())
    {
        return Err(invalid("dns_servers", wrong, "give addresses"));
    }
    if !(-1000..=1000).contains(&request.oom_score_adj) {
        let given = request.oom_score_adj.to_string();
        return Err(invalid("oom_score_adj", &given, "give -1000 to 1000"));
    }
    for from in &request.volumes_from {
        let name = from
            .strip_suffix(":ro")
            .or(from.strip_suffix(":rw"))
            .unwrap_or(from);
        named::<ContainerRef>("volumes_from", name)?;
    }
    let logging = request.logging.take().map(|logging| {
        let driver = maybe_named("logging.driver", &logging.driver)?;
        Ok::<_, Status>((driver, logging.options))
    });
    Ok(Host {
        mounts: take(&mut request.mounts)
            .into_iter()
            .map(mount)
            .collect::<Result<_, _>>()?,
        volumes_from: take(&mut request.volumes_from),
        devices: take(&mut request.devices)
            .into_iter()
            .map(device)
            .collect::<Result<_, _>>()?,
        device_requests: take(&mut request.device_requests)
            .into_iter()
            .map(device_request)
            .collect::<Result<_, _>>()?,
        device_cgroup_rules: take(&mut request.device_cgroup_rules),
        capabilities_add: take(&mut request.capabilities_add),
        capabilities_drop: take(&mut request.capabilities_drop),
        privileged: request.privileged,
        security_options: take(&mut request.security_options),
        read_only_root: request.read_only_root,
        init: request.init,
        publish_all_ports: request.publish_all_ports,
        dns_servers: take(&mut request.dns_servers),
        dns_options: take(&mut request.dns_options),
        dns_search: take(&mut request.dns_search),
        extra_hosts: take(&mut request.extra_hosts)
            .into_iter()
            .map(extra_host)
            .collect::<Result<_, _>>()?,
        sysctls: take(&mut request.sysctls),
        logging: logging.transpose()?,
        ipc_mode: take(&mut request.ipc_mode),
        pid_mode: take(&mut request.pid_mode),
        uts_mode: take(&mut request.uts_mode),
        userns_mode: take(&mut request.userns_mode),
        cgroupns_mode: take(&mut request.cgroupns_mode),
        groups: take(&mut request.groups),
        runtime: take(&mut request.runtime),
        shm_bytes: bytes("shm_size_bytes", request.shm_size_bytes)?,
        ulimits: take(&mut request.ulimits)
            .into_iter()
            .map(|limit| (limit.name, limit.soft, limit.hard))
            .collect(),
        oom_score_adj: request.oom_score_adj,
        oom_kill_disable: request.oom_kill_disable,
        cgroup_parent: take(&mut request.cgroup_parent),
        storage_options: take(&mut request.storage_options),
        annotations: take(&mut request.annotations),
    })
}

fn bytes(field: &str, bytes: u64) -> Result<i64, Status> {
    i64::try_from(bytes).map_err(|_| invalid(field, &bytes.to_string(), "give less than 2^63"))
}

/// Whose namespace.
fn namespace(field: &str, text: &str, hosts: &[&str], shared: bool) -> Result<(), Status> {
    let other = text.strip_prefix("container:").filter(|_| shared);
    match other {
        Some(container) => named::<ContainerRef>(field, container).map(drop),
        None if text.is_empty() || hosts.contains(&text) => Ok(()),
        None => {
            let mut mend = format!("give one of {hosts:?}");
            if shared {
                mend.push_str(", or \"container:NAME\"");
            }
            Err(invalid(field, text, mend))
        }
    }
}

fn absolute(field: &str, path: &str) -> Result<(), Status> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    Err(invalid(field, path, "give an absolute path"))
}

fn mount(mount: proto::Mount) -> Result<Mount, Status> {
    absolute("mounts.target", &mount.target)?;
    let source = match mount.source {
        Some(Source::Bind(bind)) => {
            absolute("mounts.bind.source", &bind.source)?;
            let known = [
                "", "private", "rprivate", "shared", "rshared", "slave", "rslave",
            ];
            if !known.contains(&bind.propagation.as_str()) {
                let mend = format!("give one of {known:?}");
                return Err(invalid("mounts.bind.propagation", &bind.propagation, mend));
            }
            MountSource::Bind {
                source: bind.source,
                propagation: bind.propagation,
                non_recursive: bind.non_recursive,
                create: bind.create_source,
            }
        }
        Some(Source::Volume(volume)) => {
            labels::check(&volume.labels)?;
            MountSource::Volume {
                name: maybe_named("mounts.volume.volume", &volume.volume)?,
                no_copy: volume.no_copy,
                subpath: volume.subpath,
                driver: maybe_named("mounts.volume.driver", &volume.driver)?,
                driver_options: volume.driver_options,
                labels: volume.labels,
            }
        }
        Some(Source::Tmpfs(tmpfs)) => {
            if tmpfs.mode > 0o7777 {
                let given = format!("{:o}", tmpfs.mode);
                return Err(invalid("mounts.tmpfs.mode", &given, "give at most 07777"));
            }
            MountSource::Tmpfs {
                bytes: bytes("mounts.tmpfs.size_bytes", tmpfs.size_bytes)?,
                mode: tmpfs.mode,
                options: tmpfs.options,
            }
        }
        None => {
            return Err(invalid(
                "mounts",
                &mount.target,
                "say what is mounted there",
            ));
        }
    };
    Ok(Mount {
        target: mount.target,
        read_only: mount.read_only,
        source,
    })
}

fn device(device: proto::Device) -> Result<Device, Status> {
    absolute("devices.host_path", &device.host_path)?;
    let container_path = match device.container_path {
        path if path.is_empty() => device.host_path.clone(),
        path => path,
    };
    absolute("devices.container_path", &container_path)?;
    let permissions = match device.permissions.as_str() {
        "" => "rwm".to_owned(),
        text if text.bytes().all(|byte| b"rwm".contains(&byte)) => device.permissions,
        text => {
            return Err(invalid(
                "devices.permissions",
                text,
                "give \"r\", \"w\" and \"m\"",
            ));
        }
    };
    Ok(Device {
        host_path: device.host_path,
        container_path,
        permissions,
    })
}

fn device_request(request: proto::DeviceRequest) -> Result<DeviceRequest, Status> {
    if request.count < -1 || (request.count != 0 && !request.device_ids.is_empty()) {
        let given = request.count.to_string();
        let mend = "give a number, -1 for all, or device_ids";
        return Err(invalid("device_requests.count", &given, mend));
    }
    let capabilities = request.capabilities.into_iter().map(|set| set.names);
    Ok(DeviceRequest {
        driver: request.driver,
        count: request.count,
        ids: request.device_ids,
        capabilities: capabilities.collect(),
        options: request.options,
    })
}

fn extra_host(host: proto::ExtraHost) -> Result<String, Status> {
    let known = host.address == "host-gateway" || host.address.parse::<IpAddr>().is_ok();
    if !known {
        let mend = "give an address, or \"host-gateway\"";
        return Err(invalid("extra_hosts.address", &host.address, mend));
    }
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '=');
    if host.name.is_empty() || host.name.contains(wrong) {
        return Err(invalid(
            "extra_hosts.name",
            &host.name,
            "give a host's name",
        ));
    }
    Ok(format!("{}:{}", host.name, host.address))
}

pub(super) fn health_check(check: proto::HealthCheck) -> Result<HealthCheck, Status> {
    let time = |field: &str, time: Option<prost_types::Duration>| {
        let Some(time) = time else {
            return Ok(Duration::ZERO);
        };
        let given = format!("{}.{:09} s", time.seconds, time.nanos);
        let limits = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
        Duration::try_from(time)
            .ok()
            .filter(|time| limits.contains(time))
            .ok_or_else(|| invalid(field, &given, "give 1 ms to 24 h"))
    };
    let test = match check.test {
        Some(Test::Disabled(true)) => vec!["NONE".to_owned()],
        Some(Test::Shell(line)) => vec!["CMD-SHELL".to_owned(), line],
        Some(Test::Exec(command)) if !command.argv.is_empty() => std::iter::once("CMD".to_owned())
            .chain(command.argv)
            .collect(),
        Some(Test::Exec(_)) => {
            return Err(invalid("health_check.exec", "", "name a program"));
        }
        Some(Test::Disabled(false)) | None => Vec::new(),
    };
    Ok(HealthCheck {
        test,
        interval: time("health_check.interval", check.interval)?,
        timeout: time("health_check.timeout", check.timeout)?,
        retries: check.retries,
        start_period: time("health_check.start_period", check.start_period)?,
        start_interval: time("health_check.start_interval", check.start_interval)?,
    })
}
