//! Which control plane is spoken to, as whom, and the channels to it and to its agents.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use turbopanel_control_plane::{proto, serve};
use turbopanel_tunnel::{Channel, DialHeaders, Methods, Target, connect_caller, dial, is_private};

use super::{
    args::Whom,
    directory,
    failure::{Failure, reason},
    note, text,
};

/// How long the control plane may take to accept a connection.
const REACH: Duration = Duration::from_secs(10);
/// How long an answer may take that is not a stream. Streams go on over cuts; people wait for answers.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);
/// How long a cancelled call may take to be told to the other end.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer files are no tokens.
const MAX_TOKEN: usize = 4096;

/// A control plane and the token for it.
pub(crate) struct Connection {
    url: String,
    target: Target,
    headers: DialHeaders,
    methods: Methods,
}

impl Connection {
    /// Finds the token, and sees that somebody listens at the URL.
    pub(crate) async fn open(whom: Whom) -> Result<Self, Failure> {
        let target = Target::parse(&whom.url).map_err(Failure::Url)?;
        let guarded = target.is_plaintext() && !whom.allow_plaintext;
        let target = if guarded {
            target.private_only()
        } else {
            target
        };
        let token = token(&whom, &target)?;
        let methods = Methods::from_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .map_err(|error| Failure::Start(io::Error::other(error)))?;
        let connection = Self {
            url: whom.url.trim_end_matches('/').to_owned(),
            target,
            headers: DialHeaders {
                token: Some(token),
                agent: None,
                user_agent: concat!("turbopanel/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
            methods,
        };
        let address = connection.reach(guarded).await?;
        // Without a terminal too: a log is where somebody finds it later.
        if guarded && !address.is_loopback() {
            note(
                "warning: http:// sends the token unencrypted; put TLS in front of the control plane and use https://, or say that it is meant with TURBOPANEL_ALLOW_PLAINTEXT=1",
            );
        }
        Ok(connection)
    }

    /// A channel to the control plane itself.
    pub(crate) fn plane(&self) -> Channel {
        self.channel("/client/connect")
    }

    /// A channel to an agent.
    pub(crate) fn agent(&self, name: &str) -> Result<Channel, Failure> {
        text::agent_name(name).map_err(Failure::Argument)?;
        Ok(self.channel(&format!("/client/connect?agent={name}")))
    }

    fn channel(&self, path: &str) -> Channel {
        connect_caller(
            self.target.join(path),
            self.headers.clone(),
            self.methods.clone(),
        )
    }

    /// A channel waits for its control plane; a person wants to know at once when there is none, or
    /// none that may be told the token.
    async fn reach(&self, guarded: bool) -> Result<IpAddr, Failure> {
        let host = self.target.host();
        let unreachable = |cause| Failure::Unreachable {
            url: self.url.clone(),
            cause,
        };
        let reaching = async {
            let found = lookup_host((host, self.target.port())).await;
            let addresses: Vec<_> = found
                .map_err(|error| unreachable(error.to_string()))?
                .collect();
            let public = addresses.iter().find(|address| !is_private(address.ip()));
            if let Some(address) = public.filter(|_| guarded) {
                return Err(Failure::Plaintext {
                    host: host.to_owned(),
                    ip: address.ip(),
                });
            }
            let stream = TcpStream::connect(addresses.as_slice()).await;
            stream
                .and_then(|stream| stream.peer_addr())
                .map(|address| address.ip())
                .map_err(|error| unreachable(error.to_string()))
        };
        let late = || unreachable(format!("no answer within {} s", REACH.as_secs()));
        timeout(REACH, reaching).await.map_err(|_| late())?
    }

    /// A channel keeps to itself why it got no link: dials once more to learn it.
    pub(crate) async fn explain(&self, failure: Failure) -> Failure {
        if let Failure::Refused(status) = &failure
            && status.code() == Code::Unavailable
            && reason(status).as_deref() == Some("CONTROL_PLANE_UNREACHABLE")
            && let Err(error) = dial(&self.target.join("/client/connect"), &self.headers).await
        {
            return Failure::Unreachable {
                url: self.url.clone(),
                cause: format!("{error}; {}", error.mend()),
            };
        }
        failure
    }
}

/// A request whose answer must come within [`ANSWER`].
pub(crate) fn prompt<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER);
    request
}

/// Returns when the other end knows of every cancel that was sent before, or after a short time.
pub(crate) async fn settle(channel: Channel) {
    // What is sent on one link arrives in order: an answer to a later call shows that the cancel arrived.
    let mut health = HealthClient::new(channel);
    let check = health.check(HealthCheckRequest::default());
    let _ = timeout(SETTLE, check).await;
}

fn token(whom: &Whom, target: &Target) -> Result<String, Failure> {
    if let Some(path) = &whom.token_file {
        return read(path);
    }
    if let Some(token) = from_environment() {
        return checked(&token, "in TURBOPANEL_TOKEN".to_owned());
    }
    if !loopback(target) {
        return Err(Failure::NoToken {
            url: whom.url.clone(),
            looked_in: None,
        });
    }
    let path = serve::admin_token_file(&directory::choose(whom.data_dir.clone()));
    match read(&path) {
        Err(Failure::TokenFile { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            // Somebody else's control plane may run here: its token is then hidden from us, or read by its owner only.
            let roots = serve::admin_token_file(Path::new(directory::FOR_ROOT));
            let denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            if whom.data_dir.is_none() && fs::metadata(&roots).is_err_and(denied) {
                let source = io::ErrorKind::PermissionDenied.into();
                return Err(Failure::TokenFile {
                    path: roots,
                    source,
                });
            }
            let looked_in: Option<PathBuf> = path.parent().map(Path::to_owned);
            Err(Failure::NoToken {
                url: whom.url.clone(),
                looked_in,
            })
        }
        result => result,
    }
}

fn loopback(target: &Target) -> bool {
    match target.ip() {
        Some(ip) => ip.is_loopback(),
        None => target.host() == "localhost",
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "clap has no argument that is an environment variable alone, and no secret goes into argv"
)]
fn from_environment() -> Option<String> {
    std::env::var("TURBOPANEL_TOKEN")
        .ok()
        .filter(|token| !token.is_empty())
}

fn read(path: &Path) -> Result<String, Failure> {
    let content = fs::read(path).map_err(|source| Failure::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    let content = String::from_utf8(content).unwrap_or_default();
    checked(&content, format!("in {}", path.display()))
}

fn checked(token: &str, place: String) -> Result<String, Failure> {
    let token = token.trim();
    let fits = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(fits) {
        return Err(Failure::TokenShape(place));
    }
    Ok(token.to_owned())
}
