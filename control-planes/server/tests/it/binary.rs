//! The binary itself, killed with SIGKILL: nothing that was acknowledged is lost, and a command that runs
//! on an agent goes on.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use turbopanel_control_plane::proto::{
    FILE_DESCRIPTOR_SET,
    agent::command_service_client::CommandServiceClient,
    control::{
        Agent, CreateTokenRequest, ListAgentsRequest, ListTokensRequest, RevokeTokenRequest,
        TokenKind, fleet_service_client::FleetServiceClient,
        token_service_client::TokenServiceClient,
    },
};
use turbopanel_tunnel::{DialHeaders, Methods, Target, connect_caller, dial};

use crate::{
    frames::caller_at,
    plane::{Client, With, eventually, within},
    real_agent::{collect, run_agent, shell},
};

/// `turbopanel serve` in a process of its own.
struct Served {
    child: Child,
    address: SocketAddr,
    admin: String,
}

impl Served {
    fn start(dir: &Path, listen: &str) -> Self {
        Self::start_with(dir, listen, Stdio::null())
    }

    /// What it logs, at the level `debug`, goes there.
    fn start_with(dir: &Path, listen: &str, log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_turbopanel"))
            .args(["serve", "--listen", listen, "--log-level", "debug"])
            .arg("--data-dir")
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines
            .map_while(Result::ok)
            .find(|line| line.contains("listens on"));
        let line = line.expect("it starts");
        let (_, address) = line.rsplit_once("http://").unwrap();
        let admin = std::fs::read_to_string(dir.join("admin-token")).unwrap();
        Self {
            child,
            address: address.trim().parse().unwrap(),
            admin: admin.trim().to_owned(),
        }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn client(&self) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        Client::new(channel.connect_lazy(), With::token(&self.admin))
    }

    async fn agents(&self) -> Vec<Agent> {
        let mut fleet = FleetServiceClient::new(self.client());
        let agents = fleet.list_agents(ListAgentsRequest::default()).await;
        agents.unwrap().into_inner().agents
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    let dir = TempDir::new().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_turbopanel"), "serve"])
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().expect("it starts").unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<_> = files.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{limits}");
}

/// A3, for the control plane: tokens of every kind at every door, and none of them in the log.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_logged() {
    const WRONG: &str = "tpc_0011223344556677_canarycanarycanarycanarycanarycanarycanaryX";
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let served = Served::start_with(&dir.path().join("state"), "127.0.0.1:0", file.into());
    let mut tokens = TokenServiceClient::new(served.client());
    let mut secrets = vec![served.admin.clone(), WRONG.to_owned()];
    for (name, kind) in [("web-2", TokenKind::Agent), ("laptop", TokenKind::Admin)] {
        let (name, kind) = (name.to_owned(), kind.into());
        let made = tokens.create_token(CreateTokenRequest { kind, name }).await;
        secrets.push(made.unwrap().into_inner().secret);
    }
    let _agent = run_agent(served.address, &secrets[2], dir.path());
    eventually("the agent is connected", async || {
        let agents = served.agents().await;
        agents
            .iter()
            .any(|agent| agent.name == "web-2" && agent.connected)
    })
    .await;
    for token in &secrets {
        for path in ["/client/connect", "/client/connect?agent=web-2"] {
            let mut health = HealthClient::new(caller_at(served.address, token, path));
            let _ = within(20, health.check(HealthCheckRequest::default())).await;
        }
        let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap();
        let client = Client::new(channel.connect_lazy(), With::token(token));
        let mut fleet = FleetServiceClient::new(client);
        let _ = fleet.list_agents(ListAgentsRequest::default()).await;
        let target = Target::parse(&format!(
            "http://{}/agent/connect?token={token}",
            served.address
        ));
        assert!(target.is_err(), "a token is no part of a URL");
        let headers = DialHeaders {
            token: Some(token.clone()),
            agent: Some("web-9".to_owned()),
            user_agent: "test".to_owned(),
        };
        let target = Target::parse(&format!("http://{}", served.address)).unwrap();
        let _ = dial(&target.join("/agent/connect"), &headers).await;
    }
    let id = secrets[3].split('_').nth(1).unwrap().to_owned();
    tokens
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    drop(served);
    let logged = std::fs::read_to_string(log).unwrap();
    assert!(logged.contains("a token was refused"), "{logged}");
    assert!(logged.contains("the agent is here"), "{logged}");
    for secret in &secrets {
        let hidden = secret.splitn(3, '_').nth(2).unwrap();
        assert!(!logged.contains(hidden), "{logged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_survive_kill_9_of_the_binary() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let mut served = Served::start(&state, "127.0.0.1:0");
    let mut made = Vec::new();
    for round in 0..3 {
        let mut tokens = TokenServiceClient::new(served.client());
        for number in 0..4 {
            let request = CreateTokenRequest {
                kind: TokenKind::Agent.into(),
                name: format!("web-{round}-{number}"),
            };
            let token = tokens
                .create_token(request)
                .await
                .unwrap()
                .into_inner()
                .token
                .unwrap();
            if number == 0 {
                let id = token.id.clone();
                tokens
                    .revoke_token(RevokeTokenRequest { id })
                    .await
                    .unwrap();
            }
            made.push((token.id, number == 0));
        }
        served.kill();
        served = Served::start(&state, "127.0.0.1:0");
        let request = ListTokensRequest {
            include_revoked: true,
            ..ListTokensRequest::default()
        };
        let mut tokens = TokenServiceClient::new(served.client());
        let listed = tokens
            .list_tokens(request)
            .await
            .unwrap()
            .into_inner()
            .tokens;
        assert_eq!(listed.len(), made.len() + 1);
        for (id, revoked) in &made {
            let token = listed
                .iter()
                .find(|token| token.id == *id)
                .expect("no token is lost");
            assert_eq!(token.revoked_at.is_some(), *revoked);
        }
        assert_eq!(served.agents().await.len(), made.len() + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_on_over_kill_9_of_its_control_plane() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let mut served = Served::start(&state, "127.0.0.1:0");
    let address = served.address;
    let mut tokens = TokenServiceClient::new(served.client());
    let request = CreateTokenRequest {
        kind: TokenKind::Agent.into(),
        name: "web-2".to_owned(),
    };
    let token = tokens.create_token(request).await.unwrap().into_inner();
    let _agent = run_agent(address, &token.secret, dir.path());
    let connected = async |served: &Served| {
        eventually("the agent is connected", async || {
            let agents = served.agents().await;
            agents
                .iter()
                .any(|agent| agent.name == "web-2" && agent.connected)
        })
        .await;
    };
    connected(&served).await;

    let target = Target::parse(&format!("http://{address}")).unwrap();
    let headers = DialHeaders {
        token: Some(served.admin.clone()),
        agent: None,
        user_agent: "test".to_owned(),
    };
    let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET).unwrap();
    let channel = connect_caller(target.join("/client/connect?agent=web-2"), headers, methods);
    let mut commands = CommandServiceClient::new(channel);
    let steps = tokio_stream::once(shell(
        "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.02; done",
    ));
    let answer = commands.run_command(steps).await.unwrap().into_inner();
    let reading = tokio::spawn(collect(answer));
    served.kill();
    served = Served::start(&state, &address.to_string());
    connected(&served).await;
    let (output, code) = within(60, reading).await.unwrap();
    let expected: String = (1..=200).map(|line| format!("line {line}\n")).collect();
    assert_eq!((output, code), (expected, Some(0)));
}
