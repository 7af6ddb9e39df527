//! From the engine's networks to the contract's.

use crate::{
    engines::docker::networks::{Network, Pool},
    proto,
    services::{labels, time::timestamp},
};

pub(super) fn network(network: Network) -> proto::Network {
    let created_at = network.created().map(timestamp);
    let (labels, labels_left_out) = labels::bounded(network.labels);
    let mut members: Vec<_> = network
        .containers
        .into_iter()
        .map(|(container_id, member)| proto::NetworkMember {
            container_id,
            container: member.name,
            endpoint_id: member.endpoint,
            mac_address: member.mac_address,
            ipv4_address: member.ipv4,
            ipv6_address: member.ipv6,
        })
        .collect();
    members.sort_unstable_by(|a, b| a.container.cmp(&b.container));
    proto::Network {
        id: network.id,
        name: network.name,
        created_at,
        driver: network.driver,
        scope: network.scope,
        ipv6: network.ipv6,
        internal: network.internal,
        attachable: network.attachable,
        ingress: network.ingress,
        options: network.options,
        labels,
        labels_left_out,
        ipam: Some(proto::Ipam {
            driver: network.ipam.driver,
            options: network.ipam.options,
            pools: network.ipam.pools.into_iter().map(pool).collect(),
        }),
        members,
    }
}

fn pool(pool: Pool) -> proto::IpamPool {
    proto::IpamPool {
        subnet: pool.subnet,
        ip_range: pool.ip_range,
        gateway: pool.gateway,
        auxiliary_addresses: pool.auxiliary,
    }
}
