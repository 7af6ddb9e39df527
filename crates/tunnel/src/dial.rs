//! Opens the WebSocket: DNS, TCP, TLS and the HTTP upgrade within one deadline, and every refusal told with its mend.

use std::{fmt, io, net::SocketAddr, time::Duration};

use http::{HeaderValue, Response, header};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tonic::Status;

use crate::{
    SUBPROTOCOL, Target,
    socket::{Counted, Socket, config, set_options},
};

/// How long the whole of a dial may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is sent with the upgrade.
#[derive(Clone, Default)]
pub struct DialHeaders {
    /// The token, for `Authorization: Bearer`.
    pub token: Option<String>,
    /// The agent's name, for `Turbopanel-Agent`.
    pub agent: Option<String>,
    /// For `User-Agent`.
    pub user_agent: String,
}

impl fmt::Debug for DialHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialHeaders")
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("agent", &self.agent)
            .field("user_agent", &self.user_agent)
            .finish()
    }
}

/// An answer of the control plane that is not the upgrade.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// When to come again, if it said so.
    pub retry_after: Option<Duration>,
    /// The mode that the control plane works in, if it said so.
    pub mode: Option<String>,
    /// What it said, one line.
    pub message: String,
    /// How calls end that are refused with it, if it said so.
    pub grpc_status: Option<Box<Status>>,
}

/// Why there is no connection. Each message says what was tried and what came back.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host's name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address accepts.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The way there is not encrypted, and the address is a public one.
    #[error(
        "{host} is at the public address {ip}, and http:// would show the token to everybody on the way"
    )]
    PublicPlaintext {
        /// The name.
        host: String,
        /// Where it leads.
        ip: std::net::IpAddr,
    },
    /// TLS failed: for example the certificate is not trusted.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// Host and port.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The server answered, but not with the upgrade.
    #[error("{target} answered {}{}", refusal.status, said(refusal))]
    Refused {
        /// What was asked.
        target: String,
        /// What came back.
        refusal: Refusal,
    },
    /// The server answered something that is not HTTP, or broke off.
    #[error("{address} did not answer as a WebSocket server: {reason}")]
    Upgrade {
        /// Host and port.
        address: String,
        /// What came back.
        reason: String,
    },
    /// A step took too long.
    #[error("{address} did not answer within 10 s")]
    TooLate {
        /// Host and port.
        address: String,
    },
}

fn said(refusal: &Refusal) -> String {
    if refusal.message.is_empty() {
        String::new()
    } else {
        format!(": {}", refusal.message)
    }
}

impl DialError {
    /// The refusal, if the server answered.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::PublicPlaintext { .. }
            | Self::Tls { .. }
            | Self::Upgrade { .. }
            | Self::TooLate { .. } => None,
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "check the host's name in the URL and the DNS of this machine",
            Self::Connect { .. } => "check the URL, and that no firewall is in between",
            Self::PublicPlaintext { .. } => {
                "use https://, or allow it: AGENT_ALLOW_PLAINTEXT=1 for an agent, TURBOPANEL_ALLOW_PLAINTEXT=1 for `turbopanel`"
            }
            Self::Tls { .. } => {
                "check that the certificate is valid for the host's name in the URL"
            }
            Self::Upgrade { .. } | Self::TooLate { .. } => {
                "check that the URL is a control plane's, and that proxies in between pass WebSockets"
            }
            Self::Refused { refusal, .. } => match refusal.status {
                401 => "check the token",
                403 => "the token was revoked or is of another kind; create a new one",
                404 => "the URL is not a control plane's, or has no such agent",
                409 => "the name and the token are of different agents; use the token's own name",
                426 => {
                    "this version and the control plane's speak different protocols; update the older one"
                }
                429 | 503 => "the control plane has too much to do; it is tried again later",
                300..=399 => "the server redirects, which is never followed; use the final URL",
                _ => "see the control plane's log",
            },
        }
    }
}

/// Opens a WebSocket to the target.
pub async fn dial(target: &Target, headers: &DialHeaders) -> Result<Socket, DialError> {
    let until = Instant::now() + DEADLINE;
    let too_late = || DialError::TooLate {
        address: target.authority(),
    };
    let tcp = timeout_at(until, connect(target, until))
        .await
        .map_err(|_| too_late())??;
    set_options(&tcp);
    let upgraded = async {
        match target.tls_config() {
            Some(tls) => {
                let failed = |source| DialError::Tls {
                    address: target.authority(),
                    source,
                };
                let name = ServerName::try_from(target.host().to_owned())
                    .map_err(|error| failed(io::Error::other(error)))?;
                let stream = tokio_rustls::TlsConnector::from(tls)
                    .connect(name, tcp)
                    .await
                    .map_err(failed)?;
                upgrade(target, headers, stream).await
            }
            None if target.is_tls() => Err(DialError::Tls {
                address: target.authority(),
                source: io::Error::other("TLS is not available"),
            }),
            None => upgrade(target, headers, tcp).await,
        }
    };
    timeout_at(until, upgraded).await.map_err(|_| too_late())?
}

/// Tries the host's addresses in turn; each gets its share of the time.
async fn connect(target: &Target, until: Instant) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match target.ip() {
        Some(ip) => vec![SocketAddr::new(ip, target.port())],
        None => lookup_host((target.host(), target.port()))
            .await
            .map_err(|source| DialError::Resolve {
                host: target.host().to_owned(),
                source,
            })?
            .collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        if !target.may_dial(address.ip()) {
            return Err(DialError::PublicPlaintext {
                host: target.host().to_owned(),
                ip: address.ip(),
            });
        }
        let left = until.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect {
        address: target.authority(),
        source: last,
    })
}

async fn upgrade<S>(target: &Target, headers: &DialHeaders, stream: S) -> Result<Socket, DialError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |reason: String| DialError::Upgrade {
        address: target.authority(),
        reason,
    };
    let url = format!("ws://{}{}", target.authority(), target.path());
    let mut request = url
        .into_client_request()
        .map_err(|error| failed(error.to_string()))?;
    let map = request.headers_mut();
    map.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let mut put = |name: http::HeaderName, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|_| failed(format!("bad {name}")))?;
        map.insert(name, value);
        Ok::<(), DialError>(())
    };
    put(header::USER_AGENT, &headers.user_agent)?;
    if let Some(token) = &headers.token {
        put(header::AUTHORIZATION, &format!("Bearer {token}"))?;
    }
    if let Some(agent) = &headers.agent {
        put(http::HeaderName::from_static("turbopanel-agent"), agent)?;
    }
    let stream = Counted::new(stream);
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await {
        Ok((ws, _)) => Ok(Socket { ws }),
        Err(tungstenite::Error::Http(response)) => Err(DialError::Refused {
            target: target.to_string(),
            refusal: read_refusal(&response),
        }),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn read_refusal(response: &Response<Option<Vec<u8>>>) -> Refusal {
    let text = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let body = response.body().as_deref().unwrap_or_default();
    let line = String::from_utf8_lossy(body);
    let line = line.lines().next().unwrap_or_default();
    Refusal {
        status: response.status().as_u16(),
        retry_after: text("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
        mode: text("turbopanel-mode"),
        message: line
            .chars()
            .filter(|char| !char.is_control())
            .take(200)
            .collect(),
        grpc_status: Status::from_header_map(response.headers()).map(Box::new),
    }
}
