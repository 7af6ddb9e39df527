//! `NetworkService` against a real engine.

use std::collections::HashMap;

use tonic::{Code, Request, Status};
use turbopanel_agent::{
    proto::{self, ErrorReason, network_service_server::NetworkService},
    services::network::NetworkApi,
};

use crate::{
    docker_containers::assert_refused,
    docker_support::{IMAGE, TestContainer, docker, engine, unique},
};

fn api() -> NetworkApi {
    NetworkApi::new(engine())
}

/// A network that is removed at the end.
pub struct TestNetwork(pub String);

impl Drop for TestNetwork {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker")
            .args(["network", "rm", &self.0])
            .output();
    }
}

/// A subnet that no other test of this process has.
pub fn subnet() -> [u8; 3] {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id() as u8;
    [10, process | 128, NEXT.fetch_add(1, Ordering::Relaxed)]
}

/// A container that runs on this network.
fn on(network: &str) -> TestContainer {
    let name = unique("on");
    let run = [
        "run", "-d", "--name", &name, "--net", network, IMAGE, "sleep", "1000",
    ];
    docker(None, &run);
    TestContainer { name }
}

fn new(name: &str, subnet: [u8; 3]) -> proto::CreateNetworkRequest {
    let [a, b, c] = subnet;
    proto::CreateNetworkRequest {
        name: name.to_owned(),
        labels: HashMap::from([(name.to_owned(), "own".to_owned())]),
        options: HashMap::from([("com.docker.network.driver.mtu".into(), "1400".into())]),
        internal: true,
        ipam: Some(proto::Ipam {
            pools: vec![proto::IpamPool {
                subnet: format!("{a}.{b}.{c}.0/24"),
                ip_range: format!("{a}.{b}.{c}.128/25"),
                gateway: format!("{a}.{b}.{c}.1"),
                auxiliary_addresses: HashMap::from([("kept".into(), format!("{a}.{b}.{c}.200"))]),
            }],
            ..proto::Ipam::default()
        }),
        ..proto::CreateNetworkRequest::default()
    }
}

async fn get(name: &str) -> Result<proto::Network, Status> {
    let api = api();
    let request = proto::GetNetworkRequest {
        network: name.to_owned(),
    };
    let answer = api.get_network(Request::new(request)).await?;
    Ok(answer.into_inner().network.unwrap())
}

async fn remove(name: &str) -> Result<(), Status> {
    let api = api();
    let request = proto::RemoveNetworkRequest {
        network: name.to_owned(),
    };
    api.remove_network(Request::new(request)).await.map(drop)
}

async fn list(name: &str, value: &str) -> Vec<proto::Network> {
    let api = api();
    let request = proto::ListNetworksRequest {
        labels: HashMap::from([(name.to_owned(), value.to_owned())]),
        ..proto::ListNetworksRequest::default()
    };
    let listed = api.list_networks(Request::new(request)).await.unwrap();
    listed.into_inner().networks
}

#[tokio::test]
async fn a_network_lives_from_create_to_remove() {
    let api = api();
    let network = TestNetwork(unique("net"));
    let (name, net) = (network.0.as_str(), subnet());
    let created = api.create_network(Request::new(new(name, net)));
    let created = created.await.unwrap().into_inner();
    assert_eq!(created.id.len(), 64);
    let taken = api.create_network(Request::new(new(name, subnet())));
    assert_refused(
        &taken.await.unwrap_err(),
        Code::AlreadyExists,
        ErrorReason::NameInUse,
    );

    let [a, b, c] = net;
    let seen = get(&created.id[..20]).await.unwrap();
    assert_eq!(
        (seen.id.as_str(), seen.name.as_str()),
        (created.id.as_str(), name)
    );
    assert_eq!(
        (seen.driver.as_str(), seen.scope.as_str()),
        ("bridge", "local")
    );
    assert!(seen.internal && !seen.ipv6 && !seen.ingress && !seen.attachable);
    assert_eq!(seen.options["com.docker.network.driver.mtu"], "1400");
    assert_eq!(seen.labels[name], "own");
    assert!(seen.created_at.unwrap().seconds > 1_700_000_000);
    let pool = &seen.ipam.unwrap().pools[0];
    assert_eq!(pool.subnet, format!("{a}.{b}.{c}.0/24"));
    assert_eq!(pool.ip_range, format!("{a}.{b}.{c}.128/25"));
    assert_eq!(pool.auxiliary_addresses["kept"], format!("{a}.{b}.{c}.200"));
    assert_eq!(list(name, "").await.len(), 1);
    assert_eq!(list(name, "own").await[0].id, created.id);
    assert_eq!(list(name, "other").await.len(), 0);

    // A container comes and goes.
    let container = on("bridge");
    let connect = |container: &str, address: String, alias: &str| proto::ConnectNetworkRequest {
        network: name.to_owned(),
        container: container.to_owned(),
        endpoint: Some(proto::EndpointSettings {
            aliases: vec![alias.to_owned()],
            ipv4_address: address,
            ..proto::EndpointSettings::default()
        }),
    };
    let address = format!("{a}.{b}.{c}.77");
    let good = connect(&container.name, address.clone(), "db");
    api.connect_network(Request::new(good.clone()))
        .await
        .unwrap();
    let members = get(name).await.unwrap().members;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].container, container.name);
    assert_eq!(members[0].ipv4_address, format!("{address}/24"));
    assert_eq!(members[0].mac_address.len(), 17);
    let resolved = docker(None, &["exec", &container.name, "nslookup", "db"]);
    assert!(resolved.contains(&address), "{resolved}");
    let again = api.connect_network(Request::new(good)).await.unwrap_err();
    assert_refused(&again, Code::FailedPrecondition, ErrorReason::ResourceInUse);
    let in_use = remove(name).await.unwrap_err();
    assert_refused(
        &in_use,
        Code::FailedPrecondition,
        ErrorReason::ResourceInUse,
    );

    let missing = connect(&unique("nosuch"), String::new(), "db");
    let missing = api
        .connect_network(Request::new(missing))
        .await
        .unwrap_err();
    assert_refused(&missing, Code::NotFound, ErrorReason::ContainerNotFound);
    for (address, alias) in [("10.1", "db"), ("fd00::1", "db"), ("", "a b"), ("", "a\0")] {
        let wrong = connect(&container.name, address.to_owned(), alias);
        let wrong = api.connect_network(Request::new(wrong)).await.unwrap_err();
        assert_refused(&wrong, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    // This engine is too old for it, and that is told.
    let newer = connect(&container.name, String::new(), "db");
    let newer = |set: fn(&mut proto::EndpointSettings)| {
        let mut newer = newer.clone();
        newer.endpoint.iter_mut().for_each(set);
        newer
    };
    for (needs, newer) in [
        ("1.48", newer(|endpoint| endpoint.gateway_priority = 7)),
        (
            "1.44",
            newer(|endpoint| endpoint.mac_address = "02:42:00:00:00:77".into()),
        ),
    ] {
        let too_old = api.connect_network(Request::new(newer)).await.unwrap_err();
        assert_refused(&too_old, Code::Unimplemented, ErrorReason::EngineTooOld);
        assert!(too_old.message().contains(needs), "{too_old:?}");
    }

    let disconnect = proto::DisconnectNetworkRequest {
        network: name.to_owned(),
        container: container.name.clone(),
        force: false,
    };
    let disconnected = api.disconnect_network(Request::new(disconnect.clone()));
    disconnected.await.unwrap();
    let again = api.disconnect_network(Request::new(disconnect));
    assert_eq!(again.await.unwrap_err().code(), Code::FailedPrecondition);
    remove(name).await.unwrap();
    for gone in [get(name).await.map(drop), remove(name).await] {
        assert_refused(
            &gone.unwrap_err(),
            Code::NotFound,
            ErrorReason::NetworkNotFound,
        );
    }
    let own = remove("bridge").await.unwrap_err();
    assert_eq!(own.code(), Code::FailedPrecondition, "{own:?}");
}

#[tokio::test]
async fn what_is_not_used_goes_and_nothing_else() {
    let api = api();
    let networks = [0; 2].map(|_| TestNetwork(unique("prune")));
    for network in &networks {
        let created = api.create_network(Request::new(new(&network.0, subnet())));
        created.await.unwrap();
    }
    let [first, second] = networks.each_ref().map(|network| network.0.as_str());
    let container = TestContainer::create(&[], &["true"]);
    docker(None, &["network", "disconnect", "none", &container.name]);
    let running = on(second);
    let prune = async |label: &str, without: &str, before: i64| {
        let filter = proto::PruneFilter {
            labels: HashMap::from([(label.to_owned(), String::new())]),
            without_labels: match without {
                "" => HashMap::new(),
                without => HashMap::from([(without.to_owned(), "own".to_owned())]),
            },
            created_before: (before != 0).then_some(prost_types::Timestamp {
                seconds: before,
                nanos: 0,
            }),
        };
        let request = proto::PruneNetworksRequest {
            filter: Some(filter),
        };
        let pruned = api.prune_networks(Request::new(request)).await.unwrap();
        pruned.into_inner().networks
    };
    assert_eq!(prune(second, "", 0).await, [""; 0]);
    assert_eq!(prune(first, first, 0).await, [""; 0]);
    assert_eq!(prune(first, "", 1_000_000_000).await, [""; 0]);
    assert_eq!(prune(first, "", 0).await, [first]);
    drop(running);
    assert_eq!(prune(second, "", 0).await, [second]);
}

#[tokio::test]
async fn lists_come_in_pages_by_name() {
    let api = api();
    let label = unique("pages");
    let networks: Vec<_> = (0..3).map(|_| TestNetwork(unique("page"))).collect();
    for network in &networks {
        let request = proto::CreateNetworkRequest {
            name: network.0.clone(),
            labels: HashMap::from([(label.clone(), String::new())]),
            ..new(&network.0, subnet())
        };
        api.create_network(Request::new(request)).await.unwrap();
    }
    let (mut token, mut names) = (String::new(), Vec::new());
    loop {
        let request = proto::ListNetworksRequest {
            labels: HashMap::from([(label.clone(), String::new())]),
            driver: "bridge".into(),
            page_size: 2,
            page_token: token,
            ..proto::ListNetworksRequest::default()
        };
        let page = api.list_networks(Request::new(request)).await.unwrap();
        let page = page.into_inner();
        names.extend(page.networks.into_iter().map(|network| network.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut expected: Vec<_> = networks.iter().map(|network| network.0.clone()).collect();
    expected.sort();
    assert_eq!(names, expected);
    let none = proto::ListNetworksRequest {
        labels: HashMap::from([(label, String::new())]),
        driver: "macvlan".into(),
        ..proto::ListNetworksRequest::default()
    };
    let none = api.list_networks(Request::new(none)).await.unwrap();
    assert_eq!(none.into_inner().networks.len(), 0);
}
