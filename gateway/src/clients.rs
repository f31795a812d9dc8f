//! The RPCs that a gateway makes; all of them.

use carelink_platform::{
    errors::{Failure, Reason},
    grpc::Channel,
};
use carelink_proto::{
    audit::{AppendRequest, ListEventsRequest, ListEventsResponse, audit_service_client::AuditServiceClient},
    auth::{
        ChangePasswordRequest, ChangePasswordResponse, GetUserRequest, ListUsersRequest, ListUsersResponse, RedeemLinkRequest,
        RedeemLinkResponse, RedeemOneTimePasswordRequest, RedeemOneTimePasswordResponse, RequestPasswordResetRequest, User,
        VerifyPasswordRequest, VerifyPasswordResponse, auth_service_client::AuthServiceClient,
    },
    token::{
        CreateSessionRequest, IntrospectRequest, IntrospectResponse, ListKeysRequest, ListKeysResponse, ListSessionsRequest,
        ListSessionsResponse, RefreshRequest, RevokeSessionsRequest, RevokeSessionsResponse, SignOutRequest, TokenPair,
        token_service_client::TokenServiceClient,
    },
};
use futures::future::BoxFuture;
use tonic::{Request, Status};

/// The services a gateway calls.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Who somebody is.
    pub auth: AuthServiceClient<Channel>,
    /// Sessions and tokens.
    pub token: TokenServiceClient<Channel>,
    /// The trail.
    pub audit: AuditServiceClient<Channel>,
}

/// What an RPC comes to.
type Rpc<T> = BoxFuture<'static, Result<T, Failure>>;

/// Calls on a clone of the client, so that nothing is borrowed while it waits.
macro_rules! call {
    ($client:expr, $method:ident, $request:expr, $answer:ident => $value:expr) => {{
        let (mut client, request) = ($client.clone(), $request);
        Box::pin(async move {
            match client.$method(request).await {
                Ok(response) => {
                    let $answer = response.into_inner();
                    Ok($value)
                }
                Err(status) => Err(told(&status)),
            }
        })
    }};
}

/// What a status says. That somebody who is none of ours could not read a request says nothing about what a client sent (V3).
fn told(status: &Status) -> Failure {
    let failure = Failure::from_status(status);
    let foreign = std::error::Error::source(&failure).is_some();
    if foreign && failure.reason() == Reason::InputInvalid { Failure::new(Reason::Internal).caused_by(status.to_string()) } else { failure }
}

impl Clients {
    /// A signed statement of who somebody proved to be.
    pub(crate) fn verify_password(&self, request: VerifyPasswordRequest) -> Rpc<VerifyPasswordResponse> {
        call!(self.auth, verify_password, request, answer => answer)
    }

    /// A user, by whatever names one.
    pub(crate) fn get_user(&self, request: GetUserRequest) -> Rpc<Option<User>> {
        call!(self.auth, get_user, request, answer => answer.user)
    }

    /// The first pair of a session.
    pub(crate) fn create_session(&self, request: CreateSessionRequest) -> Rpc<Option<TokenPair>> {
        call!(self.token, create_session, request, answer => answer.tokens)
    }

    /// A token's successor.
    pub(crate) fn refresh(&self, request: RefreshRequest) -> Rpc<Option<TokenPair>> {
        call!(self.token, refresh, request, answer => answer.tokens)
    }

    /// What token-service thinks of a token.
    pub(crate) fn introspect(&self, request: IntrospectRequest) -> Rpc<IntrospectResponse> {
        call!(self.token, introspect, request, answer => answer)
    }

    /// The number of the revocation that ended a session.
    pub(crate) fn sign_out(&self, request: SignOutRequest) -> Rpc<u64> {
        call!(self.token, sign_out, request, answer => answer.revocation)
    }

    /// A new password for whoever asks.
    pub(crate) fn change_password(&self, request: Request<ChangePasswordRequest>) -> Rpc<ChangePasswordResponse> {
        call!(self.auth, change_password, request, answer => answer)
    }

    /// A password by a one-time password.
    pub(crate) fn redeem_one_time_password(&self, request: RedeemOneTimePasswordRequest) -> Rpc<RedeemOneTimePasswordResponse> {
        call!(self.auth, redeem_one_time_password, request, answer => answer)
    }

    /// A link by mail, whoever is named.
    pub(crate) fn request_password_reset(&self, request: RequestPasswordResetRequest) -> Rpc<()> {
        call!(self.auth, request_password_reset, request, _answer => ())
    }

    /// A password by a link.
    pub(crate) fn redeem_link(&self, request: RedeemLinkRequest) -> Rpc<RedeemLinkResponse> {
        call!(self.auth, redeem_link, request, answer => answer)
    }

    /// A page of users, for whoever asks.
    pub(crate) fn list_users(&self, request: Request<ListUsersRequest>) -> Rpc<ListUsersResponse> {
        call!(self.auth, list_users, request, answer => answer)
    }

    /// A page of sessions, for whoever asks.
    pub(crate) fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Rpc<ListSessionsResponse> {
        call!(self.token, list_sessions, request, answer => answer)
    }

    /// Sessions ended, for whoever asks.
    pub(crate) fn revoke_sessions(&self, request: Request<RevokeSessionsRequest>) -> Rpc<RevokeSessionsResponse> {
        call!(self.token, revoke_sessions, request, answer => answer)
    }

    /// The keys, for whoever asks.
    pub(crate) fn list_keys(&self, request: Request<ListKeysRequest>) -> Rpc<ListKeysResponse> {
        call!(self.token, list_keys, request, answer => answer)
    }

    /// A page of the trail, for whoever asks.
    pub(crate) fn list_events(&self, request: Request<ListEventsRequest>) -> Rpc<ListEventsResponse> {
        call!(self.audit, list_events, request, answer => answer)
    }

    /// Events made durable.
    pub(crate) fn append(&self, request: AppendRequest) -> Rpc<()> {
        call!(self.audit, append, request, _answer => ())
    }
}
