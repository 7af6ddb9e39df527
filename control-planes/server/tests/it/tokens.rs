//! Tokens over their whole life: made, listed, used, revoked; the administrator's file.

use std::{fs, os::unix::fs::PermissionsExt};

use tonic::Code;
use turbopanel_control_plane::proto::control::{
    CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, TokenKind,
};

use crate::{
    echo::Echo,
    plane::{TestAgent, TestPlane, eventually, reason},
};

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_agents_token_ends_its_tunnel_within_5_s() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (agent, token) = plane.join("web-2", &echo).await;
    let id = token.token.unwrap().id;
    let revoked = plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id: id.clone() })
        .await;
    assert_eq!(revoked.unwrap().into_inner().ended_connections, 1);
    let end = agent.ended(5).await;
    assert!(end.to_string().contains("revoked"), "{end}");
    eventually("the agent is shown as gone", async || {
        !plane.agent("web-2").await.connected
    })
    .await;
    assert!(
        plane
            .agent("web-2")
            .await
            .last_disconnect
            .contains("revoked")
    );
    let again = TestAgent::dial(plane.address, &token.secret, &echo).await;
    let error = again.err().expect("a refusal");
    assert_eq!(error.refusal().unwrap().status, 403, "{error}");
    let again = plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    assert_eq!(again.into_inner().ended_connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_with_one_name_do_not_both_stay() {
    let plane = TestPlane::start().await;
    let echo = Echo::default();
    let (first, token) = plane.join("web-2", &echo).await;
    let second = TestAgent::dial(plane.address, &token.secret, &echo)
        .await
        .unwrap();
    let end = first.ended(5).await;
    assert!(end.to_string().contains("newer connection"), "{end}");
    assert!(plane.agent("web-2").await.connected);
    second.stop();
    eventually("the second goes too", async || {
        !plane.agent("web-2").await.connected
    })
    .await;
    let request = CreateTokenRequest {
        kind: TokenKind::Agent.into(),
        name: "web-2".to_owned(),
    };
    let error = plane.tokens().create_token(request).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::AlreadyExists, "AGENT_NAME_IN_USE".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked() {
    let plane = TestPlane::start().await;
    let mut tokens = plane.tokens();
    for (kind, name, code, why) in [
        (
            1,
            "../volumes/x",
            Code::InvalidArgument,
            "CONTROL_INVALID_FIELD",
        ),
        (1, "a?b#c", Code::InvalidArgument, "CONTROL_INVALID_FIELD"),
        (0, "", Code::InvalidArgument, "CONTROL_INVALID_FIELD"),
        (7, "web-2", Code::InvalidArgument, "CONTROL_INVALID_FIELD"),
        (2, "a\nb", Code::InvalidArgument, "CONTROL_INVALID_FIELD"),
        (1, "local", Code::FailedPrecondition, "AGENT_IS_INTEGRATED"),
    ] {
        let request = CreateTokenRequest {
            kind,
            name: name.to_owned(),
        };
        let error = tokens.create_token(request).await.unwrap_err();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (code, why),
            "{name:?}"
        );
    }
    let id = "0123456789abcdef".to_owned();
    let error = tokens
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), reason(&error)),
        (Code::NotFound, "TOKEN_UNKNOWN".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages_and_no_secrets() {
    let plane = TestPlane::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(
            plane
                .create(TokenKind::Agent, &format!("web-{number}"))
                .await,
        );
    }
    let revoked = made[2].token.clone().unwrap().id;
    plane
        .tokens()
        .revoke_token(RevokeTokenRequest {
            id: revoked.clone(),
        })
        .await
        .unwrap();
    let list = async |include_revoked| {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListTokensRequest {
                page_size: 2,
                page_token,
                include_revoked,
            };
            let page = plane
                .tokens()
                .list_tokens(request)
                .await
                .unwrap()
                .into_inner();
            assert!(page.tokens.len() <= 2);
            found.extend(page.tokens);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    };
    let valid = list(false).await;
    assert_eq!(valid.len(), 5);
    assert!(valid.iter().all(|token| token.id != revoked));
    let all = list(true).await;
    assert_eq!(all.len(), 6);
    assert_eq!(all[0].kind(), TokenKind::Admin);
    assert!(
        all[0]
            .last_used_at
            .is_some_and(|used| used.seconds % 60 == 0)
    );
    assert!(all[3].revoked_at.is_some());
    let shown = format!("{all:?}");
    for token in &made {
        let secret = token.secret.splitn(3, '_').nth(2).unwrap();
        assert!(!shown.contains(secret));
    }
    let request = ListTokensRequest {
        page_token: "x".to_owned(),
        ..Default::default()
    };
    let error = plane.tokens().list_tokens(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_file_is_private_and_comes_back() {
    let plane = TestPlane::start().await;
    let file = plane.dir().join("admin-token");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    for entry in fs::read_dir(plane.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
            continue;
        }
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        if path != file {
            let secret = plane.admin.as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    let first = plane.admin.clone();
    let dir = plane.stop().await.unwrap();

    let same = TestPlane::start_in(dir.path()).await;
    assert_eq!(same.admin, first);
    same.stop().await;

    fs::remove_file(&file).unwrap();
    let new = TestPlane::start_in(dir.path()).await;
    assert_ne!(new.admin, first);
    assert_eq!(mode(&file), 0o600);
    new.agent("local").await;
    let first =
        turbopanel_control_plane::proto::control::fleet_service_client::FleetServiceClient::new(
            new.client(Some(&first), None),
        )
        .list_agents(turbopanel_control_plane::proto::control::ListAgentsRequest::default())
        .await;
    assert!(
        first.is_ok(),
        "the lost file's token stays valid until it is revoked"
    );
    new.stop().await;
}
