//! The services around the gateway, played: they answer by script and remember what they were asked.

use std::sync::{Arc, Mutex, MutexGuard};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{
    context::RequestContext,
    errors::{Failure, Reason},
    grpc::{CallerRow, Hooks, Stack, in_process},
    random::Random,
};
use carelink_proto::{
    audit::{
        AppendRequest, AppendResponse, Event, ListEventsRequest, ListEventsResponse,
        audit_service_client::AuditServiceClient,
        audit_service_server::{AuditService, AuditServiceServer},
    },
    auth::{
        ChangeRolesRequest, ChangeRolesResponse, CreateUserRequest, CreateUserResponse, GetUserRequest, GetUserResponse,
        ImportUsersRequest, ImportUsersResponse, ListUsersRequest, ListUsersResponse, SetPasswordRequest, SetPasswordResponse,
        SetUserActiveRequest, SetUserActiveResponse, User, VerifyPasswordRequest, VerifyPasswordResponse,
        auth_service_client::AuthServiceClient,
        auth_service_server::{AuthService, AuthServiceServer},
        get_user_request::By,
    },
    token::{
        ApplySubjectsRequest, ApplySubjectsResponse, CreateSessionRequest, CreateSessionResponse, ImportSessionsRequest,
        ImportSessionsResponse, IntrospectRequest, IntrospectResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
        ListKeysRequest, ListKeysResponse, ListSessionsRequest, ListSessionsResponse, RefreshRequest, RefreshResponse,
        RegisterSourceRequest, RegisterSourceResponse, RevokeSessionsRequest, RevokeSessionsResponse, RotateKeysRequest,
        RotateKeysResponse, SignOutRequest, SignOutResponse, TokenPair, WatchRequest, WatchResponse,
        token_service_client::TokenServiceClient,
        token_service_server::{TokenService, TokenServiceServer},
    },
};
use prost::Message;
use serde_json::Value;
use tonic::{Request, Response, Status, service::Routes};

use super::{ALICE, refresh_token};
use crate::Clients;

/// What they were asked, and what they are to do.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) passwords: Vec<VerifyPasswordRequest>,
    pub(super) sessions: Vec<CreateSessionRequest>,
    pub(super) refreshes: Vec<RefreshRequest>,
    pub(super) introspections: usize,
    pub(super) sign_outs: Vec<SignOutRequest>,
    pub(super) look_ups: usize,
    pub(super) events: Vec<Event>,
    /// The context of the last RPC.
    pub(super) context: Option<RequestContext>,
    /// Answers everything with this.
    pub(super) fails: Option<Reason>,
    /// Answers everything as somebody does who is none of ours: a proxy, a library.
    pub(super) foreign: Option<tonic::Code>,
    pub(super) panics: bool,
    pub(super) hangs: bool,
    /// The user is disabled.
    pub(super) disabled: bool,
}

impl Script {
    /// RPCs so far, but for the trail's.
    pub(super) fn rpcs(&self) -> usize {
        self.passwords.len() + self.sessions.len() + self.refreshes.len() + self.introspections + self.sign_outs.len() + self.look_ups
    }
}

/// All three.
#[derive(Clone, Debug, Default)]
pub(super) struct Played(Arc<Mutex<Script>>);

const TABLE: &[CallerRow] = &[
    CallerRow::services("/carelink.auth.v1.AuthService/VerifyPassword", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/GetUser", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/CreateSession", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/Refresh", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/Introspect", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/SignOut", &["gateway"]),
    CallerRow::services("/carelink.audit.v1.AuditService/Append", &["gateway"]),
];

impl Played {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    pub(super) fn clients(&self) -> Clients {
        let routes = Routes::new(AuthServiceServer::new(self.clone()))
            .add_service(TokenServiceServer::new(self.clone()))
            .add_service(AuditServiceServer::new(self.clone()));
        let channel = in_process(Stack::new(routes, TABLE, Hooks::default(), Random::seeded(1)), "gateway");
        Clients {
            auth: AuthServiceClient::new(channel.clone()),
            token: TokenServiceClient::new(channel.clone()),
            audit: AuditServiceClient::new(channel),
        }
    }

    /// What happens at every RPC before its own answer.
    async fn act(&self, record: impl FnOnce(&mut Script)) -> Result<(), Status> {
        let (fails, foreign, panics, hangs) = {
            let mut script = self.script();
            record(&mut script);
            script.context = RequestContext::current();
            (script.fails, script.foreign, script.panics, script.hangs)
        };
        assert!(!panics, "as the script says");
        if hangs {
            std::future::pending::<()>().await;
        }
        if let Some(code) = foreign {
            return Err(Status::new(code, "canary"));
        }
        fails.map_or(Ok(()), |reason| Err(Failure::new(reason).into()))
    }
}

/// What the script says of a token: nothing against it, or a reason.
fn says(token: &str) -> Result<(), Reason> {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok()).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| Reason::TokenInvalid)?;
    match claims["says"].as_str() {
        None => Err(if claims["token_type"] == "access" { Reason::TokenTypeWrong } else { Reason::TokenInvalid }),
        Some(reason) => reason.parse().map_or(Ok(()), Err),
    }
}

fn pair() -> Option<TokenPair> {
    let refresh_token = refresh_token("good");
    Some(TokenPair { access_token: super::access(&serde_json::json!({})), refresh_token, access_expires: 1, session_ends: 2 })
}

#[tonic::async_trait]
impl AuthService for Played {
    async fn verify_password(&self, request: Request<VerifyPasswordRequest>) -> Result<Response<VerifyPasswordResponse>, Status> {
        let request = request.into_inner();
        self.act(|script| script.passwords.push(request.clone())).await?;
        if request.username.trim() == "alice" && request.password.trim() == "correct horse battery staple" && request.trim {
            return Ok(Response::new(VerifyPasswordResponse { assertion: "assertion".into() }));
        }
        Err(Failure::new(Reason::CredentialsInvalid).into())
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        self.act(|script| script.look_ups += 1).await?;
        let active = !self.script().disabled;
        match request.into_inner().by {
            Some(By::UserId(1)) => {
                let user = User { id: ALICE.as_bytes().to_vec(), user_id: 1, username: "alice".into(), active, ..User::default() };
                Ok(Response::new(GetUserResponse { user: Some(user) }))
            }
            _ => Err(Failure::new(Reason::UserNotFound).into()),
        }
    }

    async fn list_users(&self, _: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        unreachable!()
    }

    async fn create_user(&self, _: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        unreachable!()
    }

    async fn set_user_active(&self, _: Request<SetUserActiveRequest>) -> Result<Response<SetUserActiveResponse>, Status> {
        unreachable!()
    }

    async fn set_password(&self, _: Request<SetPasswordRequest>) -> Result<Response<SetPasswordResponse>, Status> {
        unreachable!()
    }

    async fn change_roles(&self, _: Request<ChangeRolesRequest>) -> Result<Response<ChangeRolesResponse>, Status> {
        unreachable!()
    }

    async fn import_users(&self, _: Request<ImportUsersRequest>) -> Result<Response<ImportUsersResponse>, Status> {
        unreachable!()
    }
}

#[tonic::async_trait]
impl TokenService for Played {
    type WatchStream = tokio_stream::Empty<Result<WatchResponse, Status>>;

    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Result<Response<CreateSessionResponse>, Status> {
        self.act(|script| script.sessions.push(request.into_inner())).await?;
        Ok(Response::new(CreateSessionResponse { tokens: pair(), session: Vec::new() }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let request = request.into_inner();
        self.act(|script| script.refreshes.push(request.clone())).await?;
        says(&request.refresh_token).map_err(Failure::new)?;
        Ok(Response::new(RefreshResponse { tokens: pair(), replayed: false }))
    }

    async fn introspect(&self, request: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        self.act(|script| script.introspections += 1).await?;
        let reason = says(&request.into_inner().token).err().map_or("", Reason::as_str);
        Ok(Response::new(IntrospectResponse { active: reason.is_empty(), reason: reason.into(), ..IntrospectResponse::default() }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        let request = request.into_inner();
        self.act(|script| script.sign_outs.push(request.clone())).await?;
        says(&request.refresh_token).map_err(Failure::new)?;
        Ok(Response::new(SignOutResponse { revocation: 9 }))
    }

    async fn revoke_sessions(&self, _: Request<RevokeSessionsRequest>) -> Result<Response<RevokeSessionsResponse>, Status> {
        unreachable!()
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        unreachable!()
    }

    async fn apply_subjects(&self, _: Request<ApplySubjectsRequest>) -> Result<Response<ApplySubjectsResponse>, Status> {
        unreachable!()
    }

    async fn register_source(&self, _: Request<RegisterSourceRequest>) -> Result<Response<RegisterSourceResponse>, Status> {
        unreachable!()
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        unreachable!()
    }

    async fn rotate_keys(&self, _: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        unreachable!()
    }

    async fn issue_service_token(&self, _: Request<IssueServiceTokenRequest>) -> Result<Response<IssueServiceTokenResponse>, Status> {
        unreachable!()
    }

    async fn import_sessions(&self, _: Request<ImportSessionsRequest>) -> Result<Response<ImportSessionsResponse>, Status> {
        unreachable!()
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        unreachable!()
    }
}

#[tonic::async_trait]
impl AuditService for Played {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let events = request.into_inner().events;
        let events: Vec<Event> = events.iter().map(|event| Event::decode(event.as_slice()).unwrap()).collect();
        self.act(|_| {}).await?;
        let stored = u32::try_from(events.len()).unwrap();
        self.script().events.extend(events);
        Ok(Response::new(AppendResponse { stored }))
    }

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        unreachable!()
    }
}
