//! What `NetworkService` asks of the engine, to the letter, and what it never asks.

use std::collections::HashMap;

use tonic::{Code, Request};
use turbopanel_agent::{
    engines::docker::{Engine, EngineAddress},
    proto::{self, ErrorReason, network_service_server::NetworkService},
    services::network::NetworkApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_names::HOSTILE,
    docker_relay::{ENGINE, Relay},
    docker_support::unique,
};

/// What is named by a caller is in the path as it is, or nothing is asked at all.
#[tokio::test]
async fn requests_on_the_wire_are_exactly_the_expected_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let relay = Relay::start(&path, ENGINE);
    let api = NetworkApi::new(Engine::new(EngineAddress::Unix(path)));
    let long = "a".repeat(256);
    let named = |network: &str, container: &str| {
        let (network, container) = (network.to_owned(), container.to_owned());
        (
            proto::GetNetworkRequest {
                network: network.clone(),
            },
            proto::RemoveNetworkRequest {
                network: network.clone(),
            },
            proto::ConnectNetworkRequest {
                network: network.clone(),
                container: container.clone(),
                endpoint: None,
            },
            proto::DisconnectNetworkRequest {
                network,
                container,
                force: true,
            },
        )
    };
    let all = async |network: &str, container: &str| {
        let (get, remove, connect, disconnect) = named(network, container);
        [
            api.connect_network(Request::new(connect)).await.map(drop),
            api.disconnect_network(Request::new(disconnect))
                .await
                .map(drop),
            api.get_network(Request::new(get)).await.map(drop),
            api.remove_network(Request::new(remove)).await.map(drop),
        ]
    };
    for name in HOSTILE.iter().copied().chain([long.as_str()]) {
        for refused in all(name, "tpd-any").await {
            assert_refused(
                &refused.unwrap_err(),
                Code::InvalidArgument,
                ErrorReason::InvalidField,
            );
        }
        let (_, _, connect, disconnect) = named("tpd-any", name);
        for refused in [
            api.connect_network(Request::new(connect)).await.map(drop),
            api.disconnect_network(Request::new(disconnect))
                .await
                .map(drop),
        ] {
            assert_refused(
                &refused.unwrap_err(),
                Code::InvalidArgument,
                ErrorReason::InvalidField,
            );
        }
        let create = proto::CreateNetworkRequest {
            name: name.to_owned(),
            ..proto::CreateNetworkRequest::default()
        };
        let refused = api.create_network(Request::new(create)).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        if !name.is_empty() && name != "a/b" {
            let create = proto::CreateNetworkRequest {
                name: "tpd-any".into(),
                driver: format!("{name}A"),
                ..proto::CreateNetworkRequest::default()
            };
            let refused = api.create_network(Request::new(create)).await.unwrap_err();
            assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
        }
    }
    for (subnet, range, gateway) in [
        ("bad", "", ""),
        ("10.1.0.0/33", "", ""),
        ("10.1.0.0/16", "10.2.0.0/24", ""),
        ("10.1.0.0/16", "10.1.0.0/8", ""),
        ("10.1.0.0/16", "", "10.2.0.1"),
        ("10.1.0.0/16", "", "fd00::1"),
    ] {
        let pool = proto::IpamPool {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            ..proto::IpamPool::default()
        };
        let create = proto::CreateNetworkRequest {
            name: "tpd-any".into(),
            ipam: Some(proto::Ipam {
                pools: vec![pool],
                ..proto::Ipam::default()
            }),
            ..proto::CreateNetworkRequest::default()
        };
        let refused = api.create_network(Request::new(create)).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    assert!(relay.lines().is_empty(), "{:?}", relay.lines());

    let missing = unique("nosuch");
    for outcome in all(&missing, "tpd-any").await {
        outcome.unwrap_err();
    }
    let list = proto::ListNetworksRequest {
        labels: HashMap::from([("a&b".to_owned(), "c d/../é".to_owned())]),
        ..proto::ListNetworksRequest::default()
    };
    api.list_networks(Request::new(list)).await.unwrap();
    let expected = [
        "GET /_ping HTTP/1.1".to_owned(),
        format!("POST /v1.41/networks/{missing}/connect HTTP/1.1"),
        format!("POST /v1.41/networks/{missing}/disconnect HTTP/1.1"),
        format!("GET /v1.41/networks/{missing} HTTP/1.1"),
        format!("DELETE /v1.41/networks/{missing} HTTP/1.1"),
        "GET /v1.41/networks?filters=%7B%22label%22%3A%5B%22a%26b%3Dc%20d%2F%2E%2E%2F%C3%A9%22%5D%7D HTTP/1.1"
            .to_owned(),
    ];
    assert_eq!(relay.lines(), expected);
}
