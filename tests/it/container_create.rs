//! Containers with everything that they can be made with, as the engine then has them.

use std::collections::HashMap;

use prost_types::Duration;
use tonic::{Code, Request, Status};
use turbopanel_agent::{
    proto::{
        self, CreateContainerRequest, ErrorReason, container_service_server::ContainerService,
        health_check::Test, mount::Source,
    },
    services::container::ContainerApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{IMAGE, TestContainer, docker, engine, unique},
    network_life::{TestNetwork, subnet},
    volume_life::TestVolume,
};

pub async fn create(
    request: CreateContainerRequest,
) -> Result<proto::CreateContainerResponse, Status> {
    let api = ContainerApi::new(engine());
    let created = api.create_container(Request::new(request)).await?;
    Ok(created.into_inner())
}

pub fn base(name: &str) -> CreateContainerRequest {
    CreateContainerRequest {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        command: vec!["sleep".into(), "1000".into()],
        ..CreateContainerRequest::default()
    }
}

pub fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Whether the engine's JSON of the container has exactly this there.
fn assert_json(container: &str, path: &str, expected: &str) {
    let seen = docker(
        None,
        &["inspect", "-f", &format!("{{{{json {path}}}}}"), container],
    );
    assert_eq!(seen, expected, "{path}");
}

#[tokio::test]
async fn everything_arrives_at_the_engine() {
    let container = TestContainer {
        name: unique("all"),
    };
    let name = container.name.as_str();
    let pairs = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pairs.collect()
    };
    let request = CreateContainerRequest {
        port_ranges: vec![proto::PortRange {
            container_port_first: 7000,
            container_port_last: 7001,
            host_port_first: 0,
            host_ip: "127.0.0.1".into(),
            protocol: "udp".into(),
        }],
        exposed_ports: vec![proto::Port {
            container_port: 81,
            ..proto::Port::default()
        }],
        resources: Some(proto::Resources {
            memory_limit_bytes: Some(64 << 20),
            memory_swap_bytes: Some(-1),
            memory_reservation_bytes: Some(32 << 20),
            cpu_period_us: Some(50_000),
            cpu_quota_us: Some(25_000),
            cpu_shares: Some(333),
            cpuset_cpus: Some("0".into()),
            cpuset_mems: Some("0".into()),
            pids_limit: Some(55),
            ..proto::Resources::default()
        }),
        mounts: vec![
            proto::Mount {
                target: "/host-etc".into(),
                read_only: true,
                source: Some(Source::Bind(proto::BindMount {
                    source: "/etc".into(),
                    propagation: "rslave".into(),
                    ..proto::BindMount::default()
                })),
            },
            proto::Mount {
                target: "/memory".into(),
                read_only: false,
                source: Some(Source::Tmpfs(proto::TmpfsMount {
                    size_bytes: 1 << 20,
                    mode: 0o1770,
                    ..proto::TmpfsMount::default()
                })),
            },
        ],
        health_check: Some(proto::HealthCheck {
            test: Some(Test::Exec(proto::Command {
                argv: texts(&["test", "-e", "/"]),
            })),
            interval: seconds(5),
            timeout: seconds(2),
            retries: 4,
            start_period: seconds(9),
            start_interval: None,
        }),
        hostname: "inner".into(),
        domain_name: "example.test".into(),
        capabilities_add: texts(&["NET_ADMIN"]),
        capabilities_drop: texts(&["CHOWN"]),
        devices: vec![proto::Device {
            host_path: "/dev/null".into(),
            container_path: "/dev/nothing".into(),
            permissions: "rw".into(),
        }],
        device_cgroup_rules: texts(&["c 1:3 rwm"]),
        security_options: texts(&["no-new-privileges"]),
        read_only_root: true,
        init: Some(true),
        dns_servers: texts(&["192.0.2.53"]),
        dns_options: texts(&["ndots:2"]),
        dns_search: texts(&["example.test"]),
        extra_hosts: vec![proto::ExtraHost {
            name: "other".into(),
            address: "192.0.2.7".into(),
        }],
        sysctls: pairs(&[("net.ipv4.ip_default_ttl", "77")]),
        logging: Some(proto::Logging {
            driver: "local".into(),
            options: pairs(&[("max-size", "1m")]),
        }),
        stop_signal: "SIGUSR1".into(),
        stop_timeout: seconds(3),
        platform: "linux/amd64".into(),
        ipc_mode: "private".into(),
        cgroupns_mode: "private".into(),
        groups: texts(&["4242"]),
        runtime: "runc".into(),
        shm_size_bytes: 8 << 20,
        ulimits: vec![proto::Ulimit {
            name: "nofile".into(),
            soft: 100,
            hard: 200,
        }],
        oom_score_adj: 300,
        tty: true,
        stdin_open: true,
        labels: pairs(&[("long", &"x".repeat(1 << 20))]),
        ..base(name)
    };
    create(request).await.unwrap();
    for (path, expected) in [
        (
            ".HostConfig.PortBindings",
            r#"{"7000/udp":[{"HostIp":"127.0.0.1","HostPort":""}],"7001/udp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#,
        ),
        (
            ".Config.ExposedPorts",
            r#"{"7000/udp":{},"7001/udp":{},"81/tcp":{}}"#,
        ),
        (".HostConfig.Memory", "67108864"),
        (".HostConfig.MemorySwap", "-1"),
        (".HostConfig.MemoryReservation", "33554432"),
        (".HostConfig.CpuPeriod", "50000"),
        (".HostConfig.CpuQuota", "25000"),
        (".HostConfig.CpuShares", "333"),
        (".HostConfig.CpusetCpus", "\"0\""),
        (".HostConfig.CpusetMems", "\"0\""),
        (".HostConfig.PidsLimit", "55"),
        (
            ".HostConfig.Mounts",
            r#"[{"Type":"bind","Source":"/etc","Target":"/host-etc","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}},{"Type":"tmpfs","Target":"/memory","TmpfsOptions":{"SizeBytes":1048576,"Mode":1016}}]"#,
        ),
        (
            ".Config.Healthcheck",
            r#"{"Test":["CMD","test","-e","/"],"Interval":5000000000,"Timeout":2000000000,"StartPeriod":9000000000,"Retries":4}"#,
        ),
        (".Config.Hostname", "\"inner\""),
        (".Config.Domainname", "\"example.test\""),
        (".HostConfig.CapAdd", r#"["NET_ADMIN"]"#),
        (".HostConfig.CapDrop", r#"["CHOWN"]"#),
        (
            ".HostConfig.Devices",
            r#"[{"PathOnHost":"/dev/null","PathInContainer":"/dev/nothing","CgroupPermissions":"rw"}]"#,
        ),
        (".HostConfig.DeviceCgroupRules", r#"["c 1:3 rwm"]"#),
        (".HostConfig.SecurityOpt", r#"["no-new-privileges"]"#),
        (".HostConfig.ReadonlyRootfs", "true"),
        (".HostConfig.Init", "true"),
        (".HostConfig.Dns", r#"["192.0.2.53"]"#),
        (".HostConfig.DnsOptions", r#"["ndots:2"]"#),
        (".HostConfig.DnsSearch", r#"["example.test"]"#),
        (".HostConfig.ExtraHosts", r#"["other:192.0.2.7"]"#),
        (".HostConfig.Sysctls", r#"{"net.ipv4.ip_default_ttl":"77"}"#),
        (
            ".HostConfig.LogConfig",
            r#"{"Type":"local","Config":{"max-size":"1m"}}"#,
        ),
        (".Config.StopSignal", "\"10\""),
        (".Config.StopTimeout", "3"),
        (".HostConfig.IpcMode", "\"private\""),
        (".HostConfig.CgroupnsMode", "\"private\""),
        (".HostConfig.GroupAdd", r#"["4242"]"#),
        (".HostConfig.Runtime", "\"runc\""),
        (".HostConfig.ShmSize", "8388608"),
        (
            ".HostConfig.Ulimits",
            r#"[{"Name":"nofile","Hard":200,"Soft":100}]"#,
        ),
        (".HostConfig.OomScoreAdj", "300"),
        (".Config.Tty", "true"),
        (".Config.OpenStdin", "true"),
    ] {
        assert_json(name, path, expected);
    }
    // The agent shows it too, the label of a megabyte included, and so does the list.
    let api = ContainerApi::new(engine());
    let request = proto::GetContainerRequest {
        container: name.to_owned(),
        include_engine_json: true,
        ..proto::GetContainerRequest::default()
    };
    let seen = api
        .get_container(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert!(seen.engine_json.len() > 1 << 20);
    assert_eq!(
        seen.container.unwrap().container.unwrap().labels["long"].len(),
        1 << 20
    );
    let list = proto::ListContainersRequest {
        all: true,
        name_contains: name.to_owned(),
        ..proto::ListContainersRequest::default()
    };
    let listed = api
        .list_containers(Request::new(list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.containers[0].labels["long"].len(), 1 << 20);
}

#[tokio::test]
async fn a_container_is_on_several_networks_with_its_own_addresses() {
    let networks = [0; 2].map(|_| (TestNetwork(unique("several")), subnet()));
    for (network, [a, b, c]) in &networks {
        let subnet = format!("--subnet={a}.{b}.{c}.0/24");
        docker(
            None,
            &["network", "create", "--internal", &subnet, &network.0],
        );
    }
    let attachment =
        |(network, [a, b, c]): &(TestNetwork, [u8; 3]), alias: &str| proto::NetworkAttachment {
            network: network.0.clone(),
            endpoint: Some(proto::EndpointSettings {
                aliases: vec![alias.to_owned()],
                ipv4_address: format!("{a}.{b}.{c}.44"),
                ..proto::EndpointSettings::default()
            }),
        };
    let container = TestContainer {
        name: unique("several"),
    };
    let request = CreateContainerRequest {
        network: networks[1].0.0.clone(),
        networks: vec![
            attachment(&networks[0], "front"),
            attachment(&networks[1], "back"),
        ],
        ..base(&container.name)
    };
    create(request).await.unwrap();
    docker(None, &["start", &container.name]);
    assert_json(
        &container.name,
        ".HostConfig.NetworkMode",
        &format!("\"{}\"", networks[1].0.0),
    );
    for ((network, [a, b, c]), alias) in networks.iter().zip(["front", "back"]) {
        let path = format!(
            "(index .NetworkSettings.Networks \"{}\").IPAddress",
            network.0
        );
        assert_json(&container.name, &path, &format!("\"{a}.{b}.{c}.44\""));
        let resolved = docker(None, &["exec", &container.name, "nslookup", alias]);
        assert!(resolved.contains(&format!("{a}.{b}.{c}.44")), "{resolved}");
    }
    // Another one lives in it.
    let inside = TestContainer {
        name: unique("inside"),
    };
    let request = CreateContainerRequest {
        network: format!("container:{}", container.name),
        pid_mode: format!("container:{}", container.name),
        ..base(&inside.name)
    };
    create(request).await.unwrap();
    docker(None, &["start", &inside.name]);
    let processes = docker(None, &["exec", &inside.name, "ps"]);
    assert_eq!(processes.matches("sleep 1000").count(), 2, "{processes}");

    // One whose second network is not there is not left behind.
    let never = unique("never");
    let missing = proto::NetworkAttachment {
        network: unique("nosuch"),
        endpoint: None,
    };
    let request = CreateContainerRequest {
        networks: vec![attachment(&networks[0], "x"), missing],
        ..base(&never)
    };
    let refused = create(request).await.unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    assert!(refused.message().contains("network"), "{refused:?}");
    let left = docker(None, &["ps", "-aq", "--filter", &format!("name={never}")]);
    assert_eq!(left, "");
}

#[tokio::test]
async fn volumes_are_mounted_and_shared() {
    let (volume, first, second) = (TestVolume(unique("vol")), unique("first"), unique("second"));
    let request = CreateContainerRequest {
        command: texts(&["sh", "-c", "echo hello > /data/x; exec sleep 1000"]),
        mounts: vec![
            proto::Mount {
                target: "/data".into(),
                read_only: false,
                source: Some(Source::Volume(proto::VolumeMount {
                    volume: volume.0.clone(),
                    labels: HashMap::from([("made".into(), "here".into())]),
                    ..proto::VolumeMount::default()
                })),
            },
            proto::Mount {
                target: "/anonymous".into(),
                read_only: false,
                source: Some(Source::Volume(proto::VolumeMount::default())),
            },
        ],
        network: "none".into(),
        ..base(&first)
    };
    create(request).await.unwrap();
    let first = TestContainer { name: first };
    docker(None, &["start", &first.name]);
    assert_eq!(
        docker(
            None,
            &["volume", "inspect", "-f", "{{.Labels.made}}", &volume.0]
        ),
        "here"
    );
    let request = CreateContainerRequest {
        command: texts(&["sh", "-c", "cat /data/x; touch /data/y || echo read-only"]),
        volumes_from: vec![format!("{}:ro", first.name)],
        network: "none".into(),
        ..base(&second)
    };
    crate::docker_support::eventually("it is written", async || {
        docker(None, &["exec", &first.name, "ls", "/data"]).contains('x')
    })
    .await;
    create(request).await.unwrap();
    let second = TestContainer { name: second };
    docker(None, &["start", "-a", &second.name]);
    let said = docker(None, &["logs", &second.name]);
    assert!(
        said.contains("hello") && said.contains("read-only"),
        "{said}"
    );
}
