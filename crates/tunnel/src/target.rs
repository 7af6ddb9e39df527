//! Where to dial: a URL of which only scheme, host, port and path are allowed.

use std::{fmt, net::IpAddr, sync::Arc};

use http::Uri;
use rustls::{ClientConfig, RootCertStore};

/// Why a URL is not one that can be dialled. The message never repeats the URL: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not a URL.
    #[error("is not a URL; write it as https://host or http://host:18282")]
    NotAUrl,
    /// The scheme is none of http, https, ws, wss.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// It holds a user or a password.
    #[error("must not hold a user or a password; the token has a setting of its own")]
    UserInfo,
    /// It has a query or a fragment.
    #[error("must end after the path")]
    Query,
}

/// An address that can be dialled.
#[derive(Clone)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    roots: Option<Arc<RootCertStore>>,
    private_only: bool,
}

/// An address that only machines nearby reach: loopback, private (RFC 1918, RFC 4193), link-local,
/// or shared by a carrier (RFC 6598, which overlay networks use).
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

impl Target {
    /// Parses `https://host[:port][/path]`; http, ws and wss as well.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if url.contains('@') {
            return Err(TargetError::UserInfo);
        }
        if url.contains(['?', '#']) {
            return Err(TargetError::Query);
        }
        let uri: Uri = url.trim().parse().map_err(|_| TargetError::NotAUrl)?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(TargetError::Scheme),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(TargetError::NotAUrl)?.to_owned();
        Ok(Self {
            tls,
            host,
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
            roots: None,
            private_only: false,
        })
    }

    /// The same server with this path (and query) after the URL's own.
    pub fn join(&self, path: &str) -> Self {
        Self {
            path: format!("{}{path}", self.path),
            ..self.clone()
        }
    }

    /// Trusts these certificate authorities instead of the public ones.
    pub fn with_roots(self, roots: RootCertStore) -> Self {
        Self {
            roots: Some(Arc::new(roots)),
            ..self
        }
    }

    /// Dials private addresses only, whatever the name resolves to.
    pub fn private_only(self) -> Self {
        Self {
            private_only: true,
            ..self
        }
    }

    pub(crate) fn may_dial(&self, ip: IpAddr) -> bool {
        !self.private_only || is_private(ip)
    }

    /// Neither encrypted nor authenticated.
    pub fn is_plaintext(&self) -> bool {
        !self.tls
    }

    /// Host and port, the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as an address, if it is written as one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }

    pub(crate) fn tls_config(&self) -> Option<Arc<ClientConfig>> {
        if !self.tls {
            return None;
        }
        let roots = match &self.roots {
            Some(roots) => Arc::clone(roots),
            None => Arc::new(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            }),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Some(Arc::new(config))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_once() {
        let target = Target::parse("https://plane.example/base/").unwrap();
        assert_eq!(target.authority(), "plane.example");
        let joined = target.join("/client/connect?agent=web-2");
        assert_eq!(
            joined.to_string(),
            "https://plane.example/base/client/connect"
        );
        assert_eq!(Target::parse("ws://[::1]:18282").unwrap().host(), "::1");
        assert_eq!(Target::parse("http://h").unwrap().port(), 80);
    }

    #[test]
    fn private_addresses_are_known() {
        for ip in [
            "127.0.0.1",
            "10.9.8.7",
            "192.168.1.1",
            "172.31.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn what_could_hold_a_secret_is_refused() {
        let refused = |url| Target::parse(url).map(|_| ()).unwrap_err();
        assert_eq!(refused("https://me:pw@host"), TargetError::UserInfo);
        assert_eq!(refused("https://host/?token=x"), TargetError::Query);
        assert_eq!(refused("ftp://host"), TargetError::Scheme);
        assert_eq!(refused("host:18282/x y"), TargetError::NotAUrl);
    }
}
