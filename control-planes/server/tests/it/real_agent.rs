//! The agent itself, as its binary runs it, dialling a control plane: commands through the tunnel, and a
//! control plane that is restarted under them.

use std::{ffi::OsString, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;
use tokio_stream::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Streaming};
use turbopanel_agent::{
    config::{Config, Flags},
    supervisor,
};
use turbopanel_control_plane::{
    proto::{
        FILE_DESCRIPTOR_SET,
        agent::{
            CommandStart, GetStatusRequest, HostTarget, RunCommandRequest, RunCommandResponse,
            agent_service_client::AgentServiceClient, command_service_client::CommandServiceClient,
            command_start::Target as Place, run_command_request, run_command_response::Step,
        },
        control::{RevokeTokenRequest, TokenKind},
    },
    serve::ServeConfig,
};
use turbopanel_tunnel::{Channel, DialHeaders, Methods, Target, connect_caller};

use crate::{
    frames::{caller, caller_at},
    plane::{TestPlane, eventually, reason, within},
};

pub fn run_agent(plane: SocketAddr, token: &str, dir: &Path) -> DropGuard {
    let settings = [
        ("AGENT_MODE", "websocket".to_owned()),
        ("CONTROL_PLANE_URL", format!("http://{plane}")),
        ("AGENT_TOKEN", token.to_owned()),
        ("AGENT_PORT", "0".to_owned()),
        ("AGENT_STATE_DIR", dir.display().to_string()),
        ("DOCKER_HOST", format!("unix://{}/no.sock", dir.display())),
    ];
    let config = Config::read(&Flags::default(), |name| {
        let found = settings.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| OsString::from(value))
    });
    let stop = CancellationToken::new();
    let shutdown = stop.clone().cancelled_owned();
    tokio::spawn(supervisor::run(config.unwrap(), shutdown));
    stop.drop_guard()
}

pub fn shell(script: &str) -> RunCommandRequest {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let start = CommandStart {
        target: Some(Place::Host(HostTarget {})),
        argv,
        ..CommandStart::default()
    };
    RunCommandRequest {
        step: Some(run_command_request::Step::Start(start)),
    }
}

/// Reads to the end: standard output and the exit code.
pub async fn collect(mut steps: Streaming<RunCommandResponse>) -> (String, Option<i32>) {
    let mut output = Vec::new();
    let mut code = None;
    while let Some(step) = within(60, steps.next()).await {
        match step.unwrap().step {
            Some(Step::Stdout(bytes)) => output.extend_from_slice(&bytes),
            Some(Step::Exited(exited)) => code = Some(exited.exit_code),
            Some(Step::Started(_) | Step::Stderr(_)) | None => {}
        }
    }
    (String::from_utf8(output).unwrap(), code)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_works_through_the_tunnel_and_in_process() {
    let plane = TestPlane::start().await;
    let dir = TempDir::new().unwrap();
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let _agent = run_agent(plane.address, &token.secret, dir.path());
    eventually("the agent is connected", async || {
        plane.agent("web-2").await.connected
    })
    .await;
    for name in ["web-2", "local"] {
        let client = || plane.client(Some(&plane.admin), Some(name));
        let mut commands = CommandServiceClient::new(client());
        let steps = tokio_stream::once(shell("echo hello; exit 7"));
        let answer = commands.run_command(steps).await.unwrap().into_inner();
        assert_eq!(
            collect(answer).await,
            ("hello\n".to_owned(), Some(7)),
            "{name}"
        );
        let mut agent = AgentServiceClient::new(client());
        agent.get_status(GetStatusRequest {}).await.unwrap();
    }
    assert_eq!(
        plane.agent("web-2").await.version,
        turbopanel_agent::VERSION
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_restarts_of_its_control_plane() {
    let state = TempDir::new().unwrap();
    let dir = TempDir::new().unwrap();
    let plane = TestPlane::start_in(state.path()).await;
    let address = plane.address;
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let _agent = run_agent(address, &token.secret, dir.path());
    eventually("the agent is connected", async || {
        plane.agent("web-2").await.connected
    })
    .await;

    let target = Target::parse(&format!("http://{address}")).unwrap();
    let headers = DialHeaders {
        token: Some(plane.admin.clone()),
        agent: None,
        user_agent: "test".to_owned(),
    };
    let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET).unwrap();
    let channel = connect_caller(target.join("/client/connect?agent=web-2"), headers, methods);
    let mut commands = CommandServiceClient::new(channel);
    let steps = tokio_stream::once(shell(
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.02; done",
    ));
    let answer = commands.run_command(steps).await.unwrap().into_inner();
    let reading = tokio::spawn(collect(answer));

    let mut plane = plane;
    for _ in 0..2 {
        plane.stop().await;
        let mut config = ServeConfig::new(state.path());
        config.listen = address;
        config.grace = Duration::from_secs(5);
        plane = TestPlane::start_as(config).await;
        eventually("the agent is back", async || {
            plane.agent("web-2").await.connected
        })
        .await;
    }
    let (output, code) = within(60, reading).await.unwrap();
    let expected: String = (1..=300).map(|line| format!("line {line}\n")).collect();
    assert_eq!(output, expected);
    assert_eq!(code, Some(0));
}

/// Starts a command as this caller; its process id, and what it says further.
pub async fn sleeper(channel: Channel) -> (String, Streaming<RunCommandResponse>) {
    let steps = tokio_stream::once(shell("echo $$; exec sleep 600"));
    let mut commands = CommandServiceClient::new(channel);
    begun(commands.run_command(steps).await.unwrap().into_inner()).await
}

/// Waits for a command's first output, and returns it with what follows.
pub async fn begun(
    mut answer: Streaming<RunCommandResponse>,
) -> (String, Streaming<RunCommandResponse>) {
    loop {
        let step = within(20, answer.next()).await.unwrap().unwrap().step;
        if let Some(Step::Stdout(pid)) = step {
            return (String::from_utf8(pid.into()).unwrap(), answer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_callers_commands_die() {
    let plane = TestPlane::start().await;
    let dir = TempDir::new().unwrap();
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let _agent = run_agent(plane.address, &token.secret, dir.path());
    eventually("the agent is connected", async || {
        plane.agent("web-2").await.connected
    })
    .await;
    let laptop = plane.create(TokenKind::Admin, "laptop").await;
    // Another principal, without a link when it is revoked.
    let vanished = plane.create(TokenKind::Admin, "vanished").await;
    let mut pids = Vec::new();
    let mut answers = Vec::new();
    for name in ["web-2", "local"] {
        let path = format!("/client/connect?agent={name}");
        let channel = caller(&plane, &laptop.secret, &path);
        let (pid, answer) = sleeper(channel).await;
        pids.push(pid);
        answers.push(answer);
        // One whose caller's program is gone without a word: the agent keeps the command for it.
        let channel = {
            let (address, secret) = (plane.address, vanished.secret.clone());
            move || caller_at(address, &secret, &path)
        };
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let (pid, answer) = runtime
                .unwrap()
                .block_on(async { sleeper(channel()).await });
            std::mem::forget(answer);
            pid
        });
        pids.push(gone.join().unwrap());
    }
    let running = || {
        let runs = |pid: &&String| Path::new("/proc").join(pid.trim()).exists();
        pids.iter().filter(runs).count()
    };
    assert_eq!(running(), 4);
    for token in [laptop.token, vanished.token] {
        let id = token.unwrap().id;
        let request = RevokeTokenRequest { id };
        plane.tokens().revoke_token(request).await.unwrap();
    }
    for mut answer in answers {
        let error = within(5, answer.next()).await.unwrap().unwrap_err();
        assert_eq!(
            (error.code(), reason(&error)),
            (Code::PermissionDenied, "CALLER_TOKEN_REFUSED".into())
        );
    }
    eventually("the commands are gone", async || running() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_stops_and_is_offline() {
    let plane = TestPlane::start().await;
    let dir = TempDir::new().unwrap();
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let agent = run_agent(plane.address, &token.secret, dir.path());
    eventually("the agent is connected", async || {
        plane.agent("web-2").await.connected
    })
    .await;
    drop(agent);
    eventually("the agent is gone", async || {
        !plane.agent("web-2").await.connected
    })
    .await;
    let mut agent = AgentServiceClient::new(plane.client(Some(&plane.admin), Some("web-2")));
    let error = agent.get_status(GetStatusRequest {}).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::Unavailable, "AGENT_OFFLINE".into())
    );
}
