//! What cannot be created, and why.

use tonic::{Code, Request};
use turbopanel_agent::{
    proto::{self, ErrorReason, container_service_server::ContainerService},
    services::container::ContainerApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{IMAGE, engine, unique},
};

fn api() -> ContainerApi {
    ContainerApi::new(engine())
}

#[tokio::test]
async fn what_cannot_be_created_says_why() {
    let good = || proto::CreateContainerRequest {
        name: unique("never"),
        image: IMAGE.to_owned(),
        ..proto::CreateContainerRequest::default()
    };
    let port = |container_port, host_port, protocol: &str, host_ip: &str| {
        vec![proto::Port {
            container_port,
            host_port,
            protocol: protocol.into(),
            host_ip: host_ip.into(),
        }]
    };
    let variable = |name: &str| {
        vec![proto::EnvironmentVariable {
            name: name.into(),
            value: "secret".into(),
        }]
    };
    for request in [
        proto::CreateContainerRequest {
            name: "../x".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            name: "a".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            image: String::new(),
            ..good()
        },
        proto::CreateContainerRequest {
            image: "../images".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            working_dir: "relative".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            user: "a:b:c".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            network: "container:x/y".into(),
            ..good()
        },
        proto::CreateContainerRequest {
            network: unique("nosuch"),
            ..good()
        },
        proto::CreateContainerRequest {
            environment: variable(""),
            ..good()
        },
        proto::CreateContainerRequest {
            environment: variable("A=B"),
            ..good()
        },
        proto::CreateContainerRequest {
            ports: port(0, 0, "", ""),
            ..good()
        },
        proto::CreateContainerRequest {
            ports: port(70_000, 0, "", ""),
            ..good()
        },
        proto::CreateContainerRequest {
            ports: port(80, 70_000, "", ""),
            ..good()
        },
        proto::CreateContainerRequest {
            ports: port(80, 0, "http", ""),
            ..good()
        },
        proto::CreateContainerRequest {
            ports: port(80, 0, "", "host"),
            ..good()
        },
        proto::CreateContainerRequest {
            memory_limit_bytes: u64::MAX,
            ..good()
        },
    ] {
        let refused = api()
            .create_container(Request::new(request))
            .await
            .unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        assert!(!refused.message().contains("secret"), "{refused:?}");
    }
    // Whatever words its name holds.
    for image in ["turbopanel/nosuch:1", "turbopanel/network-nosuch"] {
        let missing = proto::CreateContainerRequest {
            image: image.into(),
            network: "none".into(),
            ..good()
        };
        let refused = api()
            .create_container(Request::new(missing))
            .await
            .unwrap_err();
        assert_refused(&refused, Code::NotFound, ErrorReason::ImageNotFound);
        assert!(refused.message().contains(image), "{refused:?}");
    }
    // The engine's own judgement is passed on.
    let tiny = proto::CreateContainerRequest {
        memory_limit_bytes: 1,
        ..good()
    };
    let refused = api()
        .create_container(Request::new(tiny))
        .await
        .unwrap_err();
    assert_refused(&refused, Code::InvalidArgument, ErrorReason::EngineFailed);
    assert!(refused.message().contains("emory"), "{refused:?}");
}
