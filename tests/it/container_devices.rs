//! Devices, graphics cards and storage options: what arrives at the engine, and what is said where the host has none.

use tonic::Request;
use turbopanel_agent::{
    proto::{
        Device, DeviceCapabilities, DeviceRequest, StartContainerRequest,
        container_service_server::ContainerService,
    },
    services::container::ContainerApi,
};

use crate::{
    container_create::{base, create, texts},
    docker_support::{TestContainer, docker, engine, unique},
};

fn inspect(name: &str, path: &str) -> String {
    docker(
        None,
        &["inspect", "-f", &format!("{{{{json {path}}}}}"), name],
    )
}

#[tokio::test]
async fn devices_are_in_the_container() {
    let container = TestContainer {
        name: unique("device"),
    };
    let mut request = base(&container.name);
    request.devices = vec![Device {
        host_path: "/dev/fuse".into(),
        container_path: "/dev/nothing".into(),
        permissions: "r".into(),
    }];
    request.device_cgroup_rules = texts(&["c 1:3 mr"]);
    create(request).await.unwrap();
    docker(None, &["start", &container.name]);
    let read = docker(
        None,
        &[
            "exec",
            &container.name,
            "sh",
            "-c",
            "(: < /dev/nothing) && echo opened",
        ],
    );
    assert_eq!(read.trim(), "opened");
    let write = docker(
        None,
        &[
            "exec",
            &container.name,
            "sh",
            "-c",
            "(: > /dev/nothing) 2>/dev/null || echo refused",
        ],
    );
    assert_eq!(write.trim(), "refused");
    assert_eq!(
        inspect(&container.name, ".HostConfig.DeviceCgroupRules"),
        r#"["c 1:3 mr"]"#
    );
}

/// The engine takes the request and looks for a driver when the container starts.
#[tokio::test]
async fn a_graphics_card_that_is_not_there_is_told_at_the_start() {
    let container = TestContainer {
        name: unique("gpu"),
    };
    let mut request = base(&container.name);
    request.device_requests = vec![DeviceRequest {
        count: -1,
        capabilities: vec![DeviceCapabilities {
            names: texts(&["gpu", "compute"]),
        }],
        ..DeviceRequest::default()
    }];
    create(request).await.unwrap();
    let told = inspect(&container.name, ".HostConfig.DeviceRequests");
    assert!(
        told.contains(r#""Count":-1"#) && told.contains(r#"[["gpu","compute"]]"#),
        "{told}"
    );
    let start = StartContainerRequest {
        container: container.name.clone(),
    };
    let api = ContainerApi::new(engine());
    let refused = api.start_container(Request::new(start));
    let refused = refused.await.unwrap_err();
    assert!(refused.message().contains("device driver"), "{refused:?}");
    assert_eq!(inspect(&container.name, ".State.Running"), "false");
}

#[tokio::test]
async fn storage_options_that_the_engine_cannot_keep_are_refused() {
    let container = TestContainer {
        name: unique("storage"),
    };
    let mut request = base(&container.name);
    request.storage_options = [("nonsense".to_owned(), "1G".to_owned())].into();
    let refused = create(request).await.unwrap_err();
    assert!(refused.message().contains("nonsense"), "{refused:?}");
    let all = docker(
        None,
        &["ps", "-aq", "--filter", &format!("name={}", container.name)],
    );
    assert_eq!(all.trim(), "");
}
