//! Containers that cannot be made: which field is wrong, or what the engine is too old for.

use std::collections::HashMap;

use prost_types::Duration;
use tonic::Code;
use turbopanel_agent::proto::{
    self, CreateContainerRequest, ErrorReason, health_check::Test, mount::Source,
};

use crate::{
    container_create::{base, create, seconds, texts},
    docker_containers::assert_refused,
};

#[tokio::test]
async fn what_cannot_be_made_is_told_by_its_field() {
    let with = |set: fn(&mut CreateContainerRequest)| {
        let mut request = base("tpd-never");
        set(&mut request);
        request
    };
    let bind = |source: &str, target: &str, propagation: &str| proto::Mount {
        target: target.into(),
        read_only: false,
        source: Some(Source::Bind(proto::BindMount {
            source: source.into(),
            propagation: propagation.into(),
            ..proto::BindMount::default()
        })),
    };
    let mount = |mount: proto::Mount| CreateContainerRequest {
        mounts: vec![mount],
        ..base("tpd-never")
    };
    for (field, wrong) in [
        (
            "ipc_mode",
            with(|request| request.ipc_mode = "container:../x".into()),
        ),
        (
            "ipc_mode",
            with(|request| request.ipc_mode = "other".into()),
        ),
        (
            "pid_mode",
            with(|request| request.pid_mode = "private".into()),
        ),
        (
            "uts_mode",
            with(|request| request.uts_mode = "container:x".into()),
        ),
        (
            "capabilities_add",
            with(|request| request.capabilities_add = vec!["a b".into()]),
        ),
        (
            "dns_servers",
            with(|request| request.dns_servers = vec!["name".into()]),
        ),
        (
            "oom_score_adj",
            with(|request| request.oom_score_adj = 1001),
        ),
        (
            "volumes_from",
            with(|request| request.volumes_from = vec!["../x:ro".into()]),
        ),
        (
            "stop_signal",
            with(|request| request.stop_signal = "SIGNO".into()),
        ),
        (
            "shm_size_bytes",
            with(|request| request.shm_size_bytes = u64::MAX),
        ),
        (
            "logging.driver",
            with(|request| {
                request.logging = Some(proto::Logging {
                    driver: "../x".into(),
                    ..Default::default()
                });
            }),
        ),
        (
            "extra_hosts.address",
            with(|request| {
                request.extra_hosts = vec![proto::ExtraHost {
                    name: "a".into(),
                    address: "b".into(),
                }];
            }),
        ),
        (
            "extra_hosts.name",
            with(|request| {
                request.extra_hosts = vec![proto::ExtraHost {
                    name: "a b".into(),
                    address: "::1".into(),
                }];
            }),
        ),
        (
            "devices.host_path",
            with(|request| request.devices = vec![proto::Device::default()]),
        ),
        (
            "memory_limit_bytes",
            with(|request| {
                request.memory_limit_bytes = 7 << 20;
                request.resources = Some(proto::Resources {
                    memory_limit_bytes: Some(8 << 20),
                    ..Default::default()
                });
            }),
        ),
        (
            "port_ranges",
            with(|request| {
                request.port_ranges = vec![proto::PortRange {
                    container_port_first: 1,
                    container_port_last: 1001,
                    ..Default::default()
                }];
            }),
        ),
        (
            "port_ranges",
            with(|request| {
                request.port_ranges = vec![proto::PortRange {
                    container_port_first: 9,
                    container_port_last: 8,
                    ..Default::default()
                }];
            }),
        ),
        (
            "ports",
            with(|request| {
                request.port_ranges = vec![proto::PortRange {
                    container_port_first: 65535,
                    container_port_last: 65536,
                    ..Default::default()
                }];
            }),
        ),
        (
            "networks",
            with(|request| {
                request.network = "host".into();
                request.networks = vec![proto::NetworkAttachment {
                    network: "a1".into(),
                    endpoint: None,
                }];
            }),
        ),
        (
            "networks",
            with(|request| {
                request.networks = vec![
                    proto::NetworkAttachment {
                        network: "a1".into(),
                        endpoint: None
                    };
                    2
                ];
            }),
        ),
        (
            "health_check.exec",
            with(|request| {
                request.health_check = Some(proto::HealthCheck {
                    test: Some(Test::Exec(proto::Command::default())),
                    ..Default::default()
                });
            }),
        ),
        (
            "health_check.interval",
            with(|request| {
                request.health_check = Some(proto::HealthCheck {
                    interval: Some(Duration {
                        seconds: 0,
                        nanos: 5,
                    }),
                    ..Default::default()
                });
            }),
        ),
        ("mounts.target", mount(bind("/etc", "etc", ""))),
        ("mounts.bind.source", mount(bind("etc", "/etc", ""))),
        ("mounts.bind.propagation", mount(bind("/etc", "/etc", "up"))),
        (
            "mounts",
            mount(proto::Mount {
                target: "/x".into(),
                ..Default::default()
            }),
        ),
    ] {
        let refused = create(wrong).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        assert!(
            refused.message().starts_with(&format!("{field}:")),
            "{field}: {refused:?}"
        );
    }
    // What this engine is too old for is told with the version that has it.
    let mut created = bind("/nosuch", "/x", "");
    if let Some(Source::Bind(bind)) = &mut created.source {
        bind.create_source = true;
    }
    for (needs, newer) in [
        ("1.43", mount(created)),
        (
            "1.43",
            with(|request| request.annotations = HashMap::from([("a".into(), "b".into())])),
        ),
        (
            "1.44",
            with(|request| {
                request.health_check = Some(proto::HealthCheck {
                    start_interval: seconds(1),
                    ..Default::default()
                });
            }),
        ),
        (
            "1.45",
            mount(proto::Mount {
                target: "/x".into(),
                read_only: false,
                source: Some(Source::Volume(proto::VolumeMount {
                    subpath: "a".into(),
                    ..Default::default()
                })),
            }),
        ),
        (
            "1.46",
            mount(proto::Mount {
                target: "/x".into(),
                read_only: false,
                source: Some(Source::Tmpfs(proto::TmpfsMount {
                    options: texts(&["noexec"]),
                    ..Default::default()
                })),
            }),
        ),
    ] {
        let refused = create(newer).await.unwrap_err();
        assert_refused(&refused, Code::Unimplemented, ErrorReason::EngineTooOld);
        assert!(refused.message().contains(needs), "{refused:?}");
    }
    // The engine's own judgement.
    let refused = create(mount(bind("/nosuch", "/x", ""))).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::EngineFailed);
}
