//! An auth-service and a token-service that keep what they are sent and answer as the real ones would.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use carelink_platform::grpc::Channel;
use carelink_proto::{
    auth::{auth_service_client::AuthServiceClient, auth_service_server::*, *},
    token::{token_service_client::TokenServiceClient, token_service_server::*, *},
};
use importer::Services;
use tonic::{Request, Response, Status, service::Routes};
use tower::{ServiceExt, util::BoxCloneSyncService};

/// What arrived.
#[derive(Default)]
pub struct Record {
    pub users: BTreeMap<i64, LegacyUser>,
    pub batches: Vec<usize>,
    pub sources: Vec<RegisterSourceRequest>,
    pub tokens: BTreeMap<String, LegacyToken>,
    pub holders: BTreeMap<i64, Vec<u8>>,
    pub dry: bool,
    pub calls: Vec<&'static str>,
    /// Statuses to answer the next ImportUsers calls with; `None` lets one through.
    pub trouble: Vec<Option<Status>>,
    pub superusers_as_admins: bool,
}

#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Record>>);

impl Recorder {
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    pub fn services(&self) -> Services {
        let routes = Routes::new(AuthServiceServer::new(self.clone())).add_service(TokenServiceServer::new(self.clone())).prepare();
        let channel: Channel = BoxCloneSyncService::new(ServiceExt::<tonic::codegen::http::Request<tonic::body::Body>>::map_err(
            routes,
            |never| match never {},
        ));
        Services { auth: AuthServiceClient::new(channel.clone()), token: TokenServiceClient::new(channel) }
    }
}

/// The subject that a legacy id becomes.
pub fn subject(source: &str, legacy_id: i64) -> Vec<u8> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&legacy_id.to_be_bytes());
    id[8] = source.len().try_into().unwrap();
    id.to_vec()
}

fn hasher(user: &LegacyUser) -> String {
    let name = user.password_hash.split('$').next().unwrap();
    if user.password_hash.starts_with('!') { "unusable".into() } else { name.into() }
}

fn import_user(record: &mut Record, source: &str, user: LegacyUser, dry: bool) -> LegacyUserOutcome {
    let hasher = hasher(&user);
    if user.username == "taken" {
        return LegacyUserOutcome { result: LegacyUserResult::Refused.into(), reason: "name_taken".into(), hasher, ..Default::default() };
    }
    let result = match record.users.get(&user.legacy_id) {
        None => LegacyUserResult::Imported,
        Some(held) if *held == user => LegacyUserResult::Unchanged,
        Some(_) => LegacyUserResult::Updated,
    };
    let outcome = LegacyUserOutcome {
        result: result.into(),
        reason: if hasher == "md5" { "md5_not_allowed".into() } else { String::new() },
        id: subject(source, user.legacy_id),
        user_id: user.legacy_id,
        hasher,
        dropped_roles: user.roles.iter().filter(|role| *role == "admin").cloned().collect(),
        kept: vec![],
    };
    if !dry {
        record.users.insert(user.legacy_id, user);
    }
    outcome
}

/// What `#[tonic::async_trait]` would make of methods that nobody asks.
macro_rules! unasked {
    ($($name:ident: $request:ty => $response:ty,)*) => {$(
        fn $name<'life0, 'async_trait>(
            &'life0 self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented("unasked")) })
        }
    )*};
}

#[tonic::async_trait]
impl AuthService for Recorder {
    async fn import_users(&self, request: Request<ImportUsersRequest>) -> Result<Response<ImportUsersResponse>, Status> {
        let request = request.into_inner();
        let mut record = self.record();
        record.calls.push("import_users");
        if let Some(Some(status)) = if record.trouble.is_empty() { None } else { Some(record.trouble.remove(0)) } {
            return Err(status);
        }
        record.dry |= request.dry_run;
        record.superusers_as_admins = request.superusers_as_admins;
        record.batches.push(request.users.len());
        let outcomes = request.users.into_iter().map(|user| import_user(&mut record, &request.source, user, request.dry_run)).collect();
        Ok(Response::new(ImportUsersResponse { outcomes, subjects_pending: 0 }))
    }

    unasked! {
        verify_password: VerifyPasswordRequest => VerifyPasswordResponse,
        get_user: GetUserRequest => GetUserResponse,
        list_users: ListUsersRequest => ListUsersResponse,
        create_user: CreateUserRequest => CreateUserResponse,
        set_user_active: SetUserActiveRequest => SetUserActiveResponse,
        set_password: SetPasswordRequest => SetPasswordResponse,
        change_roles: ChangeRolesRequest => ChangeRolesResponse,
        change_password: ChangePasswordRequest => ChangePasswordResponse,
        redeem_one_time_password: RedeemOneTimePasswordRequest => RedeemOneTimePasswordResponse,
        invite_user: InviteUserRequest => InviteUserResponse,
        request_password_reset: RequestPasswordResetRequest => RequestPasswordResetResponse,
        redeem_link: RedeemLinkRequest => RedeemLinkResponse,
        unlock_user: UnlockUserRequest => UnlockUserResponse,
        show_guessing: ShowGuessingRequest => ShowGuessingResponse,
    }
}

#[tonic::async_trait]
impl TokenService for Recorder {
    type WatchStream = tokio_stream::Pending<Result<WatchResponse, Status>>;

    async fn register_source(&self, request: Request<RegisterSourceRequest>) -> Result<Response<RegisterSourceResponse>, Status> {
        let mut record = self.record();
        record.calls.push("register_source");
        record.sources.push(request.into_inner());
        Ok(Response::new(RegisterSourceResponse { accepted_until_us: i64::MAX }))
    }

    async fn import_sessions(&self, request: Request<ImportSessionsRequest>) -> Result<Response<ImportSessionsResponse>, Status> {
        let request = request.into_inner();
        let mut record = self.record();
        record.calls.push(if request.holders.is_empty() { "import_sessions" } else { "import_holders" });
        record.holders.extend(request.holders.into_iter().map(|holder| (holder.legacy_id, holder.subject)));
        if record.sources.is_empty() {
            return Err(Status::failed_precondition("the source is not registered"));
        }
        let outcomes = request.tokens.into_iter().map(|token| {
            let outcome = match record.tokens.get(&token.jti) {
                Some(held) if *held == token => LegacyTokenOutcome::Unchanged,
                Some(_) if token.blacklisted => LegacyTokenOutcome::Ended,
                Some(_) => LegacyTokenOutcome::Kept,
                None if token.subject.is_empty() => LegacyTokenOutcome::UnknownUser,
                None if token.blacklisted => LegacyTokenOutcome::Blacklisted,
                None => LegacyTokenOutcome::Live,
            };
            if !request.dry_run {
                record.tokens.insert(token.jti.clone(), token);
            }
            outcome.into()
        });
        Ok(Response::new(ImportSessionsResponse { outcomes: outcomes.collect() }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("unasked"))
    }

    unasked! {
        create_session: CreateSessionRequest => CreateSessionResponse,
        refresh: RefreshRequest => RefreshResponse,
        introspect: IntrospectRequest => IntrospectResponse,
        sign_out: SignOutRequest => SignOutResponse,
        revoke_sessions: RevokeSessionsRequest => RevokeSessionsResponse,
        list_sessions: ListSessionsRequest => ListSessionsResponse,
        apply_subjects: ApplySubjectsRequest => ApplySubjectsResponse,
        list_keys: ListKeysRequest => ListKeysResponse,
        rotate_keys: RotateKeysRequest => RotateKeysResponse,
        withdraw_key: WithdrawKeyRequest => WithdrawKeyResponse,
        report_activity: ReportActivityRequest => ReportActivityResponse,
        issue_service_token: IssueServiceTokenRequest => IssueServiceTokenResponse,
    }
}
