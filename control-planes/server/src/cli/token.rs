//! `turbopanel token`: lets agents and callers in, and shuts them out.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::{net::lookup_host, time::timeout};
use turbopanel_control_plane::proto::control::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, RevokeTokenRequest, Token,
    TokenKind, token_service_client::TokenServiceClient,
};
use turbopanel_tunnel::{Target, is_private};

use super::{
    colour::Colour,
    connection::{Connection, prompt},
    failure::Failure,
    figures, moment, note,
    output::{print, print_json},
    table::{Cell, Table},
    text,
};

const PAGE: u32 = 1000;
/// How long a name in a URL may take to be found.
const LOOK_UP: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    kind: &'static str,
    name: &'a str,
    created_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

/// Makes a token and says how to use it.
pub(crate) async fn create(
    connection: &Connection,
    name: String,
    admin: bool,
    json: bool,
) -> Result<u8, Failure> {
    let kind = if admin {
        TokenKind::Admin
    } else {
        TokenKind::Agent
    };
    if !admin {
        text::agent_name(&name).map_err(Failure::Argument)?;
    }
    let mut client = TokenServiceClient::new(connection.plane());
    let request = CreateTokenRequest {
        kind: kind.into(),
        name: name.clone(),
    };
    let made = client.create_token(prompt(request)).await?.into_inner();
    if json {
        // The two keys of an agent's token are a promise to programs.
        let whose = if admin { "name" } else { "agent" };
        print_json(&serde_json::json!({ "token": made.secret, whose: name }))?;
    } else if admin {
        print(format!("{}\n", made.secret).as_bytes())?;
        note(
            "This token is not shown again. Give it as TURBOPANEL_TOKEN, or in a file by --token-file.",
        );
    } else {
        print(joining(&name, &made).as_bytes())?;
    }
    if !admin && agents_refuse(&made.control_plane_url).await {
        note(
            "note: that URL is http:// to a public address, which agents refuse: it would show the token to everybody on the way.\n      \
             Mend: put TLS in front of the control plane and run turbopanel serve --public-url https://NAME,\n      \
             or start the agent with AGENT_ALLOW_PLAINTEXT=1",
        );
    }
    if made.loopback_only && !admin {
        note(
            "note: this control plane listens on loopback only, so other servers cannot reach it.\n      \
             Mend: turbopanel serve --listen 0.0.0.0:18282 --public-url http://ADDRESS-OF-THIS-SERVER:18282\n      \
             (over networks that are not yours, put TLS in front and use https://)",
        );
    }
    Ok(0)
}

/// Prints tokens.
pub(crate) async fn list(connection: &Connection, all: bool, json: bool) -> Result<u8, Failure> {
    let mut client = TokenServiceClient::new(connection.plane());
    let mut tokens = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTokensRequest {
            page_size: PAGE,
            page_token,
            include_revoked: all,
        };
        let page = client.list_tokens(prompt(request)).await?.into_inner();
        tokens.extend(page.tokens);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if json {
        print_json(&tokens.iter().map(row).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let now = SystemTime::now();
    let age = |at: &prost_types::Timestamp| figures::age(moment::since(at, now));
    let mut table = Table::new(&["ID", "KIND", "NAME", "AGE", "LAST USED", "STATE"]);
    for token in &tokens {
        let used = token
            .last_used_at
            .as_ref()
            .map(|at| format!("{} ago", age(at)));
        let state = match &token.revoked_at {
            Some(_) => Cell::new("revoked", Colour::Bad),
            None => Cell::new("valid", Colour::Good),
        };
        table.row([
            token.id.as_str().into(),
            kind(token).into(),
            token.name.as_str().into(),
            token
                .created_at
                .as_ref()
                .map(age)
                .unwrap_or_default()
                .into(),
            used.unwrap_or_else(|| "never".to_owned()).into(),
            state,
        ]);
    }
    table.print()?;
    Ok(0)
}

/// Revokes a token.
pub(crate) async fn revoke(connection: &Connection, id: String, json: bool) -> Result<u8, Failure> {
    let mut client = TokenServiceClient::new(connection.plane());
    let request = RevokeTokenRequest { id: id.clone() };
    let ended = client
        .revoke_token(prompt(request))
        .await?
        .into_inner()
        .ended_connections;
    if json {
        print_json(&serde_json::json!({ "id": id, "ended_connections": ended }))?;
    } else {
        note(&format!(
            "Revoked token {} and ended {ended} connections.",
            text::safe(&id)
        ));
    }
    Ok(0)
}

/// Whether an agent would not send its token there, as far as this machine can tell.
async fn agents_refuse(url: &str) -> bool {
    let Some(target) = Target::parse(url).ok().filter(Target::is_plaintext) else {
        return false;
    };
    let found = timeout(LOOK_UP, lookup_host((target.host(), target.port()))).await;
    match found {
        Ok(Ok(mut addresses)) => addresses.any(|address| !is_private(address.ip())),
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The two ways to start the new agent.
fn joining(name: &str, made: &CreateTokenResponse) -> String {
    let url = text::quoted(&text::safe(&made.control_plane_url));
    let secret = text::quoted(&text::safe(&made.secret));
    let name = text::quoted(name);
    format!(
        "On the new server, with Docker:

  docker run -d \\
    --name turbopanel-agent \\
    -p 18284:18284 \\
    -e AGENT_MODE=websocket \\
    -e CONTROL_PLANE_URL={url} \\
    -e AGENT_TOKEN={secret} \\
    -e AGENT_NAME={name} \\
    -v /var/run/docker.sock:/var/run/docker.sock \\
    turbopanel/agent:latest

or with the program itself:

  AGENT_MODE=websocket CONTROL_PLANE_URL={url} AGENT_TOKEN={secret} AGENT_NAME={name} turbopanel-agent

The token is not shown again.
"
    )
}

fn kind(token: &Token) -> &'static str {
    match token.kind() {
        TokenKind::Unspecified | TokenKind::Agent => "agent",
        TokenKind::Admin => "admin",
    }
}

fn row(token: &Token) -> Row<'_> {
    Row {
        id: &token.id,
        kind: kind(token),
        name: &token.name,
        created_at: moment::for_programs(token.created_at.as_ref()),
        last_used_at: moment::for_programs(token.last_used_at.as_ref()),
        revoked_at: moment::for_programs(token.revoked_at.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_server_gets_lines_that_a_shell_takes() {
        let made = CreateTokenResponse {
            token: None,
            secret: "tp_x.y".to_owned(),
            control_plane_url: "http://192.0.2.1:18282".to_owned(),
            loopback_only: false,
        };
        let text = joining("web-2", &made).replace(" \\\n   ", "");
        assert!(text.contains("docker run -d --name turbopanel-agent -p 18284:18284 -e AGENT_MODE=websocket -e CONTROL_PLANE_URL=http://192.0.2.1:18282 -e AGENT_TOKEN=tp_x.y -e AGENT_NAME=web-2 -v /var/run/docker.sock:/var/run/docker.sock turbopanel/agent:latest\n"), "{text}");
        assert!(text.contains("AGENT_TOKEN=tp_x.y AGENT_NAME=web-2 turbopanel-agent\n"));
    }
}
