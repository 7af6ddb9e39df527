//! From the engine's containers to the contract's.

use crate::{
    engines::docker::container::{Container, Detail, Port, Restart, State},
    proto,
    services::time::timestamp,
};

pub(in crate::services) fn container(container: Container) -> proto::Container {
    proto::Container {
        id: container.id,
        name: container.name,
        image: container.image,
        image_id: container.image_id,
        state: state(container.state).into(),
        status: container.status,
        created_at: container.created.map(timestamp),
        command: container.command,
        labels: container.labels,
        ports: container.ports.into_iter().map(port).collect(),
    }
}

pub(super) fn detail(detail: Detail, values: bool) -> proto::ContainerDetail {
    let environment =
        detail
            .environment
            .into_iter()
            .map(|(name, value)| proto::EnvironmentVariable {
                name,
                value: if values { value } else { String::new() },
            });
    let (mode, most) = match detail.restart {
        Restart::No => (proto::restart_policy::Mode::No, 0),
        Restart::Always => (proto::restart_policy::Mode::Always, 0),
        Restart::OnFailure(most) => (proto::restart_policy::Mode::OnFailure, most),
        Restart::UnlessStopped => (proto::restart_policy::Mode::UnlessStopped, 0),
    };
    proto::ContainerDetail {
        started_at: detail.started.map(timestamp),
        finished_at: detail.finished.map(timestamp),
        exit_code: detail.exit_code,
        pid: detail.pid,
        oom_killed: detail.oom_killed,
        health: detail.health,
        restart_count: detail.restart_count,
        tty: detail.tty,
        environment: environment.collect(),
        restart_policy: Some(proto::RestartPolicy {
            mode: mode.into(),
            maximum_retry_count: most,
        }),
        working_dir: detail.working_dir,
        user: detail.user,
        log_driver: detail.log_driver,
        error: detail.error,
        entrypoint: detail.entrypoint,
        networks: detail.networks,
        container: Some(container(detail.container)),
    }
}

fn state(state: State) -> proto::ContainerState {
    match state {
        State::Unknown => proto::ContainerState::Unspecified,
        State::Created => proto::ContainerState::Created,
        State::Running => proto::ContainerState::Running,
        State::Paused => proto::ContainerState::Paused,
        State::Restarting => proto::ContainerState::Restarting,
        State::Removing => proto::ContainerState::Removing,
        State::Exited => proto::ContainerState::Exited,
        State::Dead => proto::ContainerState::Dead,
    }
}

fn port(port: Port) -> proto::Port {
    proto::Port {
        container_port: u32::from(port.container_port),
        host_port: u32::from(port.host_port),
        host_ip: port.host_ip,
        protocol: port.protocol,
    }
}
