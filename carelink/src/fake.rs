//! Services that a test can see through: over a real socket, with users and sessions in memory.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use carelink_platform::errors::{Failure, Reason};
use carelink_proto::{
    audit::{
        AppendRequest, AppendResponse, ListEventsRequest, ListEventsResponse, StoredEvent,
        audit_service_server::{AuditService, AuditServiceServer},
    },
    auth::{
        ChangePasswordRequest, ChangePasswordResponse, ChangeRolesRequest, ChangeRolesResponse, CreateUserRequest, CreateUserResponse,
        GetUserRequest, GetUserResponse, GuessingWay, ImportUsersRequest, ImportUsersResponse, InviteUserRequest, InviteUserResponse,
        ListUsersRequest, ListUsersResponse, RedeemLinkRequest, RedeemLinkResponse, RedeemOneTimePasswordRequest,
        RedeemOneTimePasswordResponse, RequestPasswordResetRequest, RequestPasswordResetResponse, SetPasswordRequest, SetPasswordResponse,
        SetUserActiveRequest, SetUserActiveResponse, ShowGuessingRequest, ShowGuessingResponse, UnlockUserRequest, UnlockUserResponse,
        User, VerifyPasswordRequest, VerifyPasswordResponse,
        auth_service_server::{AuthService, AuthServiceServer},
        get_user_request::By,
    },
    ops::{
        GetLogRequest, GetLogResponse, Log, SetLogRequest, SetLogResponse,
        ops_service_server::{OpsService, OpsServiceServer},
    },
    token::{
        ApplySubjectsRequest, ApplySubjectsResponse, CreateSessionRequest, CreateSessionResponse, ImportSessionsRequest,
        ImportSessionsResponse, IntrospectRequest, IntrospectResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
        ListKeysRequest, ListKeysResponse, ListSessionsRequest, ListSessionsResponse, RefreshRequest, RefreshResponse,
        RegisterSourceRequest, RegisterSourceResponse, ReportActivityRequest, ReportActivityResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, RotateKeysRequest, RotateKeysResponse, Session, SignOutRequest, SignOutResponse, SigningKey, WatchRequest,
        WatchResponse, WithdrawKeyRequest, WithdrawKeyResponse,
        token_service_server::{TokenService, TokenServiceServer},
    },
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};
use uuid::Uuid;

use crate::connect::SOCKET;

/// What the services hold and saw.
#[derive(Default)]
pub(crate) struct State {
    /// By name.
    pub(crate) users: Vec<User>,
    /// Newest first.
    pub(crate) sessions: Vec<Session>,
    /// Newest first.
    pub(crate) events: Vec<StoredEvent>,
    /// By use.
    pub(crate) keys: Vec<SigningKey>,
    /// Answers that token-service has not acknowledged (U3).
    pub(crate) pending: bool,
    /// Refuse whatever comes.
    pub(crate) refuse: Option<Reason>,
    /// Requests as they came, with their metadata.
    pub(crate) seen: Vec<(String, MetadataMap)>,
}

/// A running fake; gone when dropped.
pub(crate) struct Fake {
    /// What it holds and saw.
    pub(crate) state: Arc<Mutex<State>>,
    dir: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts one on a directory of its own.
    pub(crate) fn start(state: State) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let state = Arc::new(Mutex::new(state));
        let services = Services(state.clone());
        let server = Server::builder()
            .add_service(AuthServiceServer::new(services.clone()))
            .add_service(TokenServiceServer::new(services.clone()))
            .add_service(OpsServiceServer::new(services.clone()))
            .add_service(AuditServiceServer::new(services));
        let task = tokio::spawn(async move {
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Self { state, dir, task }
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join(SOCKET)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A user with an id made of a number.
pub(crate) fn user(number: i64, name: &str, roles: &[&str]) -> User {
    User {
        id: Uuid::from_u128(number.unsigned_abs().into()).as_bytes().to_vec(),
        user_id: number,
        username: name.into(),
        email: format!("{name}@ward.example"),
        active: true,
        roles: roles.iter().map(ToString::to_string).collect(),
        version: 1,
        created_us: 1_700_000_000_000_000,
        hasher: "argon2id".into(),
        ..User::default()
    }
}

#[derive(Clone)]
struct Services(Arc<Mutex<State>>);

impl Services {
    fn saw<T: std::fmt::Debug>(&self, request: Request<T>) -> Result<T, Status> {
        let (metadata, _, message) = request.into_parts();
        let mut state = self.0.lock().unwrap();
        state.seen.push((format!("{message:?}"), metadata));
        match state.refuse {
            Some(reason) => Err(Failure::new(reason).into()),
            None => Ok(message),
        }
    }

    fn change(&self, id: &[u8], change: impl FnOnce(&mut User)) -> Result<(User, bool, u64), Status> {
        let mut state = self.0.lock().unwrap();
        let pending = state.pending;
        let user = state.users.iter_mut().find(|user| user.id == id).ok_or_else(not_found)?;
        change(user);
        user.version += 1;
        Ok((user.clone(), pending, if pending { 0 } else { 17 }))
    }
}

fn not_found() -> Status {
    Failure::new(Reason::UserNotFound).into()
}

fn elsewhere<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this fake"))
}

#[tonic::async_trait]
impl AuthService for Services {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let by = self.saw(request)?.by;
        let state = self.0.lock().unwrap();
        let found = state.users.iter().find(|user| match &by {
            Some(By::Id(id)) => user.id == *id,
            Some(By::UserId(user_id)) => user.user_id == *user_id,
            Some(By::Username(name)) => user.username == *name,
            None => false,
        });
        Ok(Response::new(GetUserResponse { user: Some(found.cloned().ok_or_else(not_found)?) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let asked = self.saw(request)?;
        let state = self.0.lock().unwrap();
        let from: usize = if asked.cursor.is_empty() { 0 } else { asked.cursor.parse().unwrap() };
        let size = usize::try_from(asked.page_size).unwrap();
        let fits = |user: &&User| user.username.starts_with(&asked.prefix) && !(asked.only_disabled && user.active);
        let users: Vec<User> = state.users.iter().filter(fits).skip(from).take(size).cloned().collect();
        let more = state.users.iter().filter(fits).count() > from + size;
        Ok(Response::new(ListUsersResponse { users, next_cursor: if more { (from + size).to_string() } else { String::new() } }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let asked = self.saw(request)?;
        let roles: Vec<&str> = asked.roles.iter().map(String::as_str).collect();
        let made = User { full_name: asked.full_name, email: asked.email, ..user(1_000_000_000, &asked.username, &roles) };
        self.0.lock().unwrap().users.push(made.clone());
        Ok(Response::new(CreateUserResponse { user: Some(made) }))
    }

    async fn set_user_active(&self, request: Request<SetUserActiveRequest>) -> Result<Response<SetUserActiveResponse>, Status> {
        let asked = self.saw(request)?;
        let (user, revocation_pending, revocation) = self.change(&asked.id, |user| user.active = asked.active)?;
        Ok(Response::new(SetUserActiveResponse { user: Some(user), revocation_pending, revocation }))
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Result<Response<SetPasswordResponse>, Status> {
        let asked = self.saw(request)?;
        let (user, revocation_pending, revocation) = self.change(&asked.id, |_| {})?;
        Ok(Response::new(SetPasswordResponse { user: Some(user), revocation_pending, revocation }))
    }

    async fn change_roles(&self, request: Request<ChangeRolesRequest>) -> Result<Response<ChangeRolesResponse>, Status> {
        let asked = self.saw(request)?;
        let (user, revocation_pending, revocation) = self.change(&asked.id, |user| {
            user.roles.retain(|role| !asked.remove.contains(role));
            user.roles.extend(asked.add);
        })?;
        Ok(Response::new(ChangeRolesResponse { user: Some(user), revocation_pending, revocation }))
    }

    async fn verify_password(&self, _: Request<VerifyPasswordRequest>) -> Result<Response<VerifyPasswordResponse>, Status> {
        elsewhere()
    }

    async fn import_users(&self, _: Request<ImportUsersRequest>) -> Result<Response<ImportUsersResponse>, Status> {
        elsewhere()
    }
    async fn change_password(&self, _: Request<ChangePasswordRequest>) -> Result<Response<ChangePasswordResponse>, Status> {
        elsewhere()
    }
    async fn redeem_one_time_password(
        &self,
        _: Request<RedeemOneTimePasswordRequest>,
    ) -> Result<Response<RedeemOneTimePasswordResponse>, Status> {
        elsewhere()
    }
    async fn invite_user(&self, request: Request<InviteUserRequest>) -> Result<Response<InviteUserResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(InviteUserResponse { expires_us: 1_700_086_400_000_000 }))
    }
    async fn request_password_reset(
        &self,
        _: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        elsewhere()
    }
    async fn redeem_link(&self, _: Request<RedeemLinkRequest>) -> Result<Response<RedeemLinkResponse>, Status> {
        elsewhere()
    }
    async fn unlock_user(&self, request: Request<UnlockUserRequest>) -> Result<Response<UnlockUserResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(UnlockUserResponse { opened: vec![GuessingWay::Strangers.into()] }))
    }
    async fn show_guessing(&self, _: Request<ShowGuessingRequest>) -> Result<Response<ShowGuessingResponse>, Status> {
        elsewhere()
    }
}

#[tonic::async_trait]
impl TokenService for Services {
    type WatchStream = tokio_stream::Empty<Result<WatchResponse, Status>>;

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        let asked = self.saw(request)?;
        let fits = |session: &&Session| asked.subject.is_empty() || session.subject == asked.subject;
        let sessions = self.0.lock().unwrap().sessions.iter().filter(fits).cloned().collect();
        Ok(Response::new(ListSessionsResponse { sessions, next_cursor: String::new() }))
    }

    async fn revoke_sessions(&self, request: Request<RevokeSessionsRequest>) -> Result<Response<RevokeSessionsResponse>, Status> {
        self.saw(request)?;
        let mut state = self.0.lock().unwrap();
        let live = state.sessions.iter_mut().filter(|session| session.ended_us == 0).map(|session| session.ended_us = 1);
        let ended = u32::try_from(live.count()).unwrap();
        Ok(Response::new(RevokeSessionsResponse { ended, revocation: if ended == 0 { 0 } else { 42 } }))
    }

    async fn create_session(&self, _: Request<CreateSessionRequest>) -> Result<Response<CreateSessionResponse>, Status> {
        elsewhere()
    }
    async fn refresh(&self, _: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        elsewhere()
    }
    async fn introspect(&self, _: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        elsewhere()
    }
    async fn sign_out(&self, _: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        elsewhere()
    }
    async fn apply_subjects(&self, _: Request<ApplySubjectsRequest>) -> Result<Response<ApplySubjectsResponse>, Status> {
        elsewhere()
    }
    async fn register_source(&self, _: Request<RegisterSourceRequest>) -> Result<Response<RegisterSourceResponse>, Status> {
        elsewhere()
    }
    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(ListKeysResponse { keys: self.0.lock().unwrap().keys.clone() }))
    }
    async fn rotate_keys(&self, request: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(RotateKeysResponse { keys: self.0.lock().unwrap().keys.clone(), done: false }))
    }
    async fn withdraw_key(&self, request: Request<WithdrawKeyRequest>) -> Result<Response<WithdrawKeyResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(WithdrawKeyResponse { keys: self.0.lock().unwrap().keys.clone(), ended: 3 }))
    }
    async fn report_activity(&self, _: Request<ReportActivityRequest>) -> Result<Response<ReportActivityResponse>, Status> {
        elsewhere()
    }
    async fn issue_service_token(&self, _: Request<IssueServiceTokenRequest>) -> Result<Response<IssueServiceTokenResponse>, Status> {
        elsewhere()
    }
    async fn import_sessions(&self, _: Request<ImportSessionsRequest>) -> Result<Response<ImportSessionsResponse>, Status> {
        elsewhere()
    }
    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        elsewhere()
    }
}

#[tonic::async_trait]
impl AuditService for Services {
    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        elsewhere()
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        self.saw(request)?;
        let events = self.0.lock().unwrap().events.clone();
        Ok(Response::new(ListEventsResponse { events, next_cursor: String::new() }))
    }
}

#[tonic::async_trait]
impl OpsService for Services {
    async fn get_log(&self, request: Request<GetLogRequest>) -> Result<Response<GetLogResponse>, Status> {
        self.saw(request)?;
        Ok(Response::new(GetLogResponse { log: Some(log("info", 0)) }))
    }

    async fn set_log(&self, request: Request<SetLogRequest>) -> Result<Response<SetLogResponse>, Status> {
        let asked = self.saw(request)?;
        Ok(Response::new(SetLogResponse { log: Some(log(&asked.directives, 1_700_000_000_000_000 + asked.for_us)) }))
    }
}

fn log(directives: &str, until_us: i64) -> Log {
    Log { service: "carelink".into(), directives: directives.into(), configured: "info".into(), until_us }
}
