//! The URL under which agents reach this control plane, as far as it can know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::services::Reach;

/// What was configured, else what was bound.
pub(super) fn reach(public_url: Option<&str>, bound: SocketAddr) -> Reach {
    if let Some(url) = public_url {
        return Reach {
            url: url.trim_end_matches('/').to_owned(),
            loopback_only: false,
        };
    }
    let address = if bound.ip().is_unspecified() {
        SocketAddr::new(outward(bound.ip()), bound.port())
    } else {
        bound
    };
    Reach {
        url: format!("http://{address}"),
        loopback_only: bound.ip().is_loopback(),
    }
}

/// The address of this machine that faces other networks. Asks the routing table; sends nothing.
fn outward(unspecified: IpAddr) -> IpAddr {
    // Addresses that are kept for documentation (RFC 5737, RFC 3849): nobody answers there.
    let (from, to): (IpAddr, IpAddr) = match unspecified {
        IpAddr::V4(_) => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        IpAddr::V6(_) => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    };
    let asked = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect((to, 9))?;
        socket.local_addr()
    });
    match (asked, unspecified) {
        (Ok(address), _) => address.ip(),
        (Err(_), IpAddr::V6(_)) => outward(Ipv4Addr::UNSPECIFIED.into()),
        (Err(_), IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_configured_goes_first() {
        let bound = "127.0.0.1:18282".parse().expect("an address");
        let reached = reach(Some("https://panel.example.org/"), bound);
        assert_eq!(reached.url, "https://panel.example.org");
        assert!(!reached.loopback_only);
        let reached = reach(None, bound);
        assert_eq!(reached.url, "http://127.0.0.1:18282");
        assert!(reached.loopback_only);
        assert!(
            !reach(None, "0.0.0.0:1".parse().expect("an address"))
                .url
                .contains("0.0.0.0")
        );
    }
}
