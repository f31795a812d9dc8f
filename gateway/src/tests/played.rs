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
        AppendRequest, AppendResponse, Event, ListEventsRequest, ListEventsResponse, StoredEvent,
        audit_service_client::AuditServiceClient,
        audit_service_server::{AuditService, AuditServiceServer},
    },
    auth::{
        ChangePasswordRequest, ChangePasswordResponse, ChangeRolesRequest, ChangeRolesResponse, CreateUserRequest, CreateUserResponse,
        GetUserRequest, GetUserResponse, ImportUsersRequest, ImportUsersResponse, InviteUserRequest, InviteUserResponse, ListUsersRequest,
        ListUsersResponse, RedeemLinkRequest, RedeemLinkResponse, RedeemOneTimePasswordRequest, RedeemOneTimePasswordResponse,
        RequestPasswordResetRequest, RequestPasswordResetResponse, SetPasswordRequest, SetPasswordResponse, SetUserActiveRequest,
        SetUserActiveResponse, ShowGuessingRequest, ShowGuessingResponse, UnlockUserRequest, UnlockUserResponse, User,
        VerifyPasswordRequest, VerifyPasswordResponse,
        auth_service_client::AuthServiceClient,
        auth_service_server::{AuthService, AuthServiceServer},
        get_user_request::By,
    },
    token::{
        ApplySubjectsRequest, ApplySubjectsResponse, CreateSessionRequest, CreateSessionResponse, ImportSessionsRequest,
        ImportSessionsResponse, IntrospectRequest, IntrospectResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
        ListKeysRequest, ListKeysResponse, ListSessionsRequest, ListSessionsResponse, RefreshRequest, RefreshResponse,
        RegisterSourceRequest, RegisterSourceResponse, ReportActivityRequest, ReportActivityResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, RotateKeysRequest, RotateKeysResponse, Session, SignOutRequest, SignOutResponse, SigningKey, TokenPair,
        WatchRequest, WatchResponse, WithdrawKeyRequest, WithdrawKeyResponse,
        token_service_client::TokenServiceClient,
        token_service_server::{TokenService, TokenServiceServer},
    },
};
use prost::Message;
use serde_json::Value;
use tonic::{Request, Response, Status, service::Routes};

use super::{ALICE, refresh_token, shift::Hashing};
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
    /// Other RPCs, by their names and what was asked.
    pub(super) others: Vec<String>,
    /// Whose tokens went along with those for a user.
    pub(super) tokens: Vec<String>,
    /// What a device is given to be known by.
    pub(super) known_device: String,
    /// The user is disabled.
    pub(super) disabled: bool,
    /// Everybody may sign in, once their turn to be hashed has come.
    pub(super) hashing: Option<Hashing>,
}

impl Script {
    /// RPCs so far, but for the trail's.
    pub(super) fn rpcs(&self) -> usize {
        self.passwords.len()
            + self.sessions.len()
            + self.refreshes.len()
            + self.introspections
            + self.sign_outs.len()
            + self.look_ups
            + self.others.len()
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
    CallerRow::services("/carelink.token.v1.TokenService/ListSessions", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/RevokeSessions", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/ListKeys", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/ListUsers", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/ChangePassword", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/RedeemOneTimePassword", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/RequestPasswordReset", &["gateway"]),
    CallerRow::services("/carelink.auth.v1.AuthService/RedeemLink", &["gateway"]),
    CallerRow::services("/carelink.audit.v1.AuditService/ListEvents", &["gateway"]),
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

    /// An RPC on behalf of a user: whose token came along, and what was asked.
    async fn for_user<T: std::fmt::Debug>(&self, request: &Request<T>, name: &str) -> Result<(), Status> {
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        self.script().tokens.push(token);
        self.noted(name, format!("{:?}", request.get_ref())).await
    }

    async fn noted(&self, name: &str, asked: String) -> Result<(), Status> {
        self.act(|script| script.others.push(format!("{name} {asked}"))).await
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
        let hashing = self.script().hashing.clone();
        if let Some(hashing) = hashing {
            return hashing.verify(&request.password).await;
        }
        let typed = |text: &str| if request.trim { text.trim().to_owned() } else { text.to_owned() };
        if typed(&request.username) == "alice" && typed(&request.password) == "correct horse battery staple" {
            let known_device = self.script().known_device.clone();
            return Ok(Response::new(VerifyPasswordResponse { assertion: "assertion".into(), known_device, known_device_seconds: 3_600 }));
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

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        self.for_user(&request, "ListUsers").await?;
        let users = vec![User { id: ALICE.as_bytes().to_vec(), user_id: 1, username: "alice".into(), active: true, ..User::default() }];
        Ok(Response::new(ListUsersResponse { users, next_cursor: "next".into() }))
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

    async fn change_password(&self, request: Request<ChangePasswordRequest>) -> Result<Response<ChangePasswordResponse>, Status> {
        self.for_user(&request, "ChangePassword").await?;
        Ok(Response::new(ChangePasswordResponse { revocation: 9, revocation_pending: true, ..Default::default() }))
    }

    async fn redeem_one_time_password(
        &self,
        request: Request<RedeemOneTimePasswordRequest>,
    ) -> Result<Response<RedeemOneTimePasswordResponse>, Status> {
        self.noted("RedeemOneTimePassword", format!("{:?}", request.into_inner())).await?;
        Ok(Response::new(RedeemOneTimePasswordResponse { revocation: 9, ..Default::default() }))
    }

    async fn invite_user(&self, _: Request<InviteUserRequest>) -> Result<Response<InviteUserResponse>, Status> {
        unreachable!()
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        self.noted("RequestPasswordReset", format!("{:?}", request.into_inner())).await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn redeem_link(&self, request: Request<RedeemLinkRequest>) -> Result<Response<RedeemLinkResponse>, Status> {
        self.noted("RedeemLink", format!("{:?}", request.into_inner())).await?;
        Ok(Response::new(RedeemLinkResponse { revocation: 9, ..Default::default() }))
    }

    async fn unlock_user(&self, _: Request<UnlockUserRequest>) -> Result<Response<UnlockUserResponse>, Status> {
        unreachable!()
    }

    async fn show_guessing(&self, _: Request<ShowGuessingRequest>) -> Result<Response<ShowGuessingResponse>, Status> {
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
        if request.access_token.is_empty() {
            says(&request.refresh_token).map_err(Failure::new)?;
        }
        Ok(Response::new(SignOutResponse { revocation: 9 }))
    }

    async fn revoke_sessions(&self, request: Request<RevokeSessionsRequest>) -> Result<Response<RevokeSessionsResponse>, Status> {
        self.for_user(&request, "RevokeSessions").await?;
        Ok(Response::new(RevokeSessionsResponse { ended: 2, revocation: 9 }))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        self.for_user(&request, "ListSessions").await?;
        let session = Session {
            id: super::SESSION.as_bytes().to_vec(),
            current: true,
            created_us: 1_000_000,
            ends_us: 2_000_000,
            ..Session::default()
        };
        Ok(Response::new(ListSessionsResponse { sessions: vec![session], next_cursor: String::new() }))
    }

    async fn apply_subjects(&self, _: Request<ApplySubjectsRequest>) -> Result<Response<ApplySubjectsResponse>, Status> {
        unreachable!()
    }

    async fn register_source(&self, _: Request<RegisterSourceRequest>) -> Result<Response<RegisterSourceResponse>, Status> {
        unreachable!()
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        self.for_user(&request, "ListKeys").await?;
        Ok(Response::new(ListKeysResponse { keys: vec![SigningKey { kid: "k".into(), algorithm: "EdDSA".into(), ..Default::default() }] }))
    }

    async fn rotate_keys(&self, _: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        unreachable!()
    }

    async fn withdraw_key(&self, _: Request<WithdrawKeyRequest>) -> Result<Response<WithdrawKeyResponse>, Status> {
        unreachable!()
    }

    async fn report_activity(&self, _: Request<ReportActivityRequest>) -> Result<Response<ReportActivityResponse>, Status> {
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

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        self.for_user(&request, "ListEvents").await?;
        let events = vec![StoredEvent { index: 7, unreadable: vec![255], ..Default::default() }];
        Ok(Response::new(ListEventsResponse { events, next_cursor: String::new() }))
    }
}
