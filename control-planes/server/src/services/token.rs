//! `TokenService`: makes, lists and revokes tokens.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{error::CallError, page};
use crate::{
    proto::control::{
        self, CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse,
        RevokeTokenRequest, RevokeTokenResponse, token_service_server::TokenService,
    },
    registry::{Registry, Token, name},
    store::TokenKind,
};

/// Where agents reach this control plane.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The URL to give them.
    pub url: String,
    /// Other machines cannot reach it.
    pub loopback_only: bool,
}

/// The service over a registry.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    /// Where tokens are kept.
    pub registry: Arc<Registry>,
    /// What new agents are told.
    pub reach: Reach,
}

#[tonic::async_trait]
impl TokenService for TokenIssuer {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let request = request.into_inner();
        let kind = match request.kind() {
            control::TokenKind::Unspecified | control::TokenKind::Agent
                if control::TokenKind::try_from(request.kind).is_ok() =>
            {
                TokenKind::Agent
            }
            control::TokenKind::Admin => TokenKind::Admin,
            control::TokenKind::Unspecified | control::TokenKind::Agent => {
                return Err(CallError::Field {
                    field: "kind",
                    mend: "must be TOKEN_KIND_AGENT or TOKEN_KIND_ADMIN".to_owned(),
                }
                .into());
            }
        };
        let (good, grammar) = match kind {
            TokenKind::Agent => (name::is_agent_name(&request.name), name::GRAMMAR),
            TokenKind::Admin => (
                name::is_purpose(&request.name),
                "1 to 100 bytes that say what the token is for, without control characters",
            ),
        };
        if !good {
            return Err(CallError::Field {
                field: "name",
                mend: format!("must be {grammar}"),
            }
            .into());
        }
        let created = self.registry.create_token(kind, &request.name).await;
        let (token, secret) = created.map_err(CallError::from)?;
        tracing::info!(token = %token.id, name = token.name, "a token was made");
        Ok(Response::new(CreateTokenResponse {
            token: Some(token.as_ref().into()),
            secret: secret.reveal().to_owned(),
            control_plane_url: self.reach.url.clone(),
            loopback_only: self.reach.loopback_only,
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let after = match page::after("tokens", &request.page_token)?.as_str() {
            "" => 0,
            position => position.parse().map_err(|_| CallError::Field {
                field: "page_token",
                mend: "must be the next_page_token of the page before, unchanged".to_owned(),
            })?,
        };
        let mut found = self
            .registry
            .tokens
            .after(after, size + 1, request.include_revoked);
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::token("tokens", &last.position.to_string()),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListTokensResponse {
            tokens: found.iter().map(|token| token.as_ref().into()).collect(),
            next_page_token,
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let id = request.into_inner().id;
        let revoked = self.registry.revoke_token(&id).await;
        let ended_connections = revoked.map_err(CallError::from)?;
        tracing::info!(token = id, ended_connections, "the token was revoked");
        Ok(Response::new(RevokeTokenResponse { ended_connections }))
    }
}

impl From<&Token> for control::Token {
    fn from(token: &Token) -> Self {
        let kind = match token.kind {
            TokenKind::Agent => control::TokenKind::Agent,
            TokenKind::Admin => control::TokenKind::Admin,
        };
        Self {
            id: token.id.to_string(),
            kind: kind.into(),
            name: token.name.clone(),
            created_at: Some(token.created_at.into()),
            last_used_at: token.last_used_at().map(Into::into),
            revoked_at: token.revoked_at().map(Into::into),
        }
    }
}
