//! Agents: listed, watched, removed, remembered over a restart.

use tonic::{Code, Streaming};
use turbopanel_control_plane::proto::control::{
    CreateTokenRequest, GetAgentRequest, ListAgentsRequest, RemoveAgentRequest, TokenKind,
    WatchAgentsRequest, WatchAgentsResponse, watch_agents_response::Kind,
};

use crate::{
    echo::Echo,
    plane::{TestAgent, TestPlane, eventually, reason, within},
};

async fn next(events: &mut Streaming<WatchAgentsResponse>) -> (Kind, String, bool) {
    let event = within(10, events.message()).await.unwrap().unwrap();
    let kind = event.kind();
    let agent = event.agent.unwrap_or_default();
    (kind, agent.name, agent.connected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change() {
    let plane = TestPlane::start().await;
    let token = plane.create(TokenKind::Agent, "web-2").await;
    let events = plane
        .fleet()
        .watch_agents(WatchAgentsRequest {})
        .await
        .unwrap();
    let mut events = events.into_inner();
    assert_eq!(
        next(&mut events).await,
        (Kind::Present, "local".into(), true)
    );
    assert_eq!(
        next(&mut events).await,
        (Kind::Present, "web-2".into(), false)
    );
    assert_eq!(
        next(&mut events).await,
        (Kind::Synced, String::new(), false)
    );
    let agent = TestAgent::dial(plane.address, &token.secret, &Echo::default())
        .await
        .unwrap();
    assert_eq!(
        next(&mut events).await,
        (Kind::Changed, "web-2".into(), true)
    );
    agent.stop();
    assert_eq!(
        next(&mut events).await,
        (Kind::Changed, "web-2".into(), false)
    );
    plane.create(TokenKind::Agent, "db").await;
    assert_eq!(next(&mut events).await, (Kind::Present, "db".into(), false));
    let name = "db".to_owned();
    plane
        .fleet()
        .remove_agent(RemoveAgentRequest { name })
        .await
        .unwrap();
    assert_eq!(next(&mut events).await, (Kind::Removed, "db".into(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_agent_is_cut_off() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (agent, token) = plane.join("web-2", &echo).await;
    let name = "web-2".to_owned();
    let removed = plane
        .fleet()
        .remove_agent(RemoveAgentRequest { name: name.clone() })
        .await;
    assert_eq!(removed.unwrap().into_inner().revoked_tokens, 1);
    let end = agent.ended(5).await;
    assert!(
        end.to_string().contains("removed") || end.to_string().contains("revoked"),
        "{end}"
    );
    let error = plane
        .fleet()
        .get_agent(GetAgentRequest { name })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::NotFound, "AGENT_UNKNOWN".into())
    );
    let again = TestAgent::dial(plane.address, &token.secret, &echo).await;
    assert_eq!(again.err().unwrap().refusal().unwrap().status, 403);
    let name = "local".to_owned();
    let error = plane
        .fleet()
        .remove_agent(RemoveAgentRequest { name })
        .await
        .unwrap_err();
    assert_eq!(reason(&error), "AGENT_IS_INTEGRATED");
    // The name is free again.
    plane.join("web-2", &echo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dials_twice_at_once_is_shown_as_it_is() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let token = plane.create(TokenKind::Agent, "web-2").await.secret;
    for _ in 0..20 {
        let dials = tokio::join!(
            TestAgent::dial(plane.address, &token, &echo),
            TestAgent::dial(plane.address, &token, &echo),
            TestAgent::dial(plane.address, &token, &echo),
        );
        let agents = [dials.0.unwrap(), dials.1.unwrap(), dials.2.unwrap()];
        eventually("two of them are superseded", async || {
            agents.iter().filter(|agent| agent.is_over()).count() == 2
        })
        .await;
        eventually("the third is shown", async || {
            plane.agent("web-2").await.connected
        })
        .await;
        for agent in agents {
            agent.stop();
        }
        eventually("it is gone", async || !plane.agent("web-2").await.connected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_survives_a_restart() {
    let plane = TestPlane::start().await;
    let (_agent, _) = plane.join("web-2", &Echo::default()).await;
    for number in 0..5 {
        plane.create(TokenKind::Agent, &format!("x{number}")).await;
    }
    let dir = plane.stop().await.unwrap();
    let plane = TestPlane::start_in(dir.path()).await;
    let agent = plane.agent("web-2").await;
    assert!(!agent.connected && agent.last_seen_at.is_some() && agent.connected_at.is_none());
    assert_eq!(
        (agent.version.as_str(), agent.remote_address.as_str()),
        ("9.8.7", "127.0.0.1")
    );
    assert_eq!(agent.capabilities, ["echo"]);
    assert!(!agent.last_disconnect.is_empty());
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest {
            page_size: 3,
            page_token,
        };
        let page = plane
            .fleet()
            .list_agents(request)
            .await
            .unwrap()
            .into_inner();
        names.extend(page.agents.into_iter().map(|agent| agent.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["local", "web-2", "x0", "x1", "x2", "x3", "x4"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_name_gets_a_short_error() {
    let plane = TestPlane::start().await;
    let name = "x\u{1b}".repeat(500_000);
    let request = GetAgentRequest { name: name.clone() };
    let error = plane.fleet().get_agent(request).await.unwrap_err();
    assert_eq!(reason(&error), "AGENT_UNKNOWN");
    assert!(error.message().len() < 300 && !error.message().contains('\u{1b}'));
    let error = plane
        .fleet()
        .remove_agent(RemoveAgentRequest { name })
        .await;
    assert_eq!(reason(&error.unwrap_err()), "AGENT_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_integrated_agent_there_is_no_local() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = turbopanel_control_plane::serve::ServeConfig::new(dir.path());
    config.listen.set_port(0);
    config.integrated_agent = false;
    let plane = TestPlane::start_as(config).await;
    let request = ListAgentsRequest::default();
    let agents = plane
        .fleet()
        .list_agents(request)
        .await
        .unwrap()
        .into_inner()
        .agents;
    assert!(agents.is_empty());
    let request = CreateTokenRequest {
        kind: TokenKind::Agent.into(),
        name: "local".to_owned(),
    };
    let error = plane.tokens().create_token(request).await.unwrap_err();
    assert_eq!(reason(&error), "AGENT_IS_INTEGRATED");
    assert!(error.message().contains("needs another name"), "{error}");
    plane.stop().await;
}
