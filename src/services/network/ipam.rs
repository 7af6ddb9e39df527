//! Parses pools of addresses. The engine calls a wrong one a failure of its own, so that it is found here.

use std::net::IpAddr;

use tonic::Status;

use crate::engines::docker::names::DriverName;
use crate::{
    engines::docker::networks::{Ipam, Pool},
    proto,
    services::{error::invalid, maybe_named},
};

pub(super) fn parse(ipam: proto::Ipam) -> Result<Ipam, Status> {
    let driver: Option<DriverName> = maybe_named("ipam.driver", &ipam.driver)?;
    Ok(Ipam {
        driver: driver.map(|driver| driver.to_string()).unwrap_or_default(),
        options: ipam.options,
        pools: ipam.pools.into_iter().map(pool).collect::<Result<_, _>>()?,
    })
}

fn pool(pool: proto::IpamPool) -> Result<Pool, Status> {
    let subnet = Block::parse(&pool.subnet).ok_or_else(|| {
        let mend = "give a subnet as \"10.5.0.0/16\"";
        invalid("ipam.pools.subnet", &pool.subnet, mend)
    })?;
    if !pool.ip_range.is_empty() {
        let inside = Block::parse(&pool.ip_range)
            .filter(|range| range.prefix >= subnet.prefix && subnet.holds(range.address));
        if inside.is_none() {
            let mend = "give a part of the subnet, as \"10.5.1.0/24\"";
            return Err(invalid("ipam.pools.ip_range", &pool.ip_range, mend));
        }
    }
    let gateway = Some(&pool.gateway).filter(|gateway| !gateway.is_empty());
    for address in gateway.into_iter().chain(pool.auxiliary_addresses.values()) {
        let inside = address.parse().is_ok_and(|parsed| subnet.holds(parsed));
        if !inside {
            let mend = "gateway and auxiliary addresses are addresses of the subnet";
            return Err(invalid("ipam.pools", address, mend));
        }
    }
    Ok(Pool {
        subnet: pool.subnet,
        ip_range: pool.ip_range,
        gateway: pool.gateway,
        auxiliary: pool.auxiliary_addresses,
    })
}

/// An address and a prefix length.
#[derive(Clone, Copy)]
struct Block {
    address: IpAddr,
    prefix: u32,
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| digits && *prefix <= longest)?;
        Some(Self { address, prefix })
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_its_own_addresses() {
        let holds = |block: &str, address: &str| {
            Block::parse(block).unwrap().holds(address.parse().unwrap())
        };
        assert!(holds("10.5.0.0/16", "10.5.255.1"));
        assert!(!holds("10.5.0.0/16", "10.6.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(holds("1.2.3.4/32", "1.2.3.4"));
        assert!(!holds("1.2.3.4/32", "1.2.3.5"));
        assert!(holds("fd00::/8", "fdff::1"));
        assert!(!holds("fd00::/8", "fe00::1"));
        assert!(!holds("fd00::/8", "10.0.0.1"));
        for wrong in [
            "",
            "10.5.0.0",
            "10.5.0.0/33",
            "10.5.0/16",
            "x/8",
            "10.5.0.0/+8",
            "::/129",
        ] {
            assert!(Block::parse(wrong).is_none(), "{wrong}");
        }
    }
}
