//! Parses how a container is attached to a network.

use std::net::{Ipv4Addr, Ipv6Addr};

use tonic::Status;

use crate::{engines::docker::networks::Endpoint, proto, services::error::invalid};

pub(in crate::services) fn parse(endpoint: proto::EndpointSettings) -> Result<Endpoint, Status> {
    let alias = |text: &&String| {
        text.is_empty()
            || text.len() > 255
            || !text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    if let Some(wrong) = endpoint.aliases.iter().find(alias) {
        let mend = "an alias has letters, digits, \"_\", \".\" and \"-\"";
        return Err(invalid("aliases", wrong, mend));
    }
    let ipv4 = &endpoint.ipv4_address;
    if !ipv4.is_empty() && ipv4.parse::<Ipv4Addr>().is_err() {
        return Err(invalid("ipv4_address", ipv4, "give an IPv4 address"));
    }
    let ipv6 = &endpoint.ipv6_address;
    if !ipv6.is_empty() && ipv6.parse::<Ipv6Addr>().is_err() {
        return Err(invalid("ipv6_address", ipv6, "give an IPv6 address"));
    }
    let mac = &endpoint.mac_address;
    if !mac.is_empty() && !is_mac(mac) {
        let mend = "write it as \"02:42:ac:11:00:02\"";
        return Err(invalid("mac_address", mac, mend));
    }
    Ok(Endpoint {
        aliases: endpoint.aliases,
        ipv4: endpoint.ipv4_address,
        ipv6: endpoint.ipv6_address,
        mac_address: endpoint.mac_address,
        driver_options: endpoint.driver_options,
        gateway_priority: endpoint.gateway_priority,
    })
}

pub(in crate::services) fn is_mac(text: &str) -> bool {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}
