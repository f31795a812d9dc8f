//! Decode, call domain and store, encode. Nothing is decided here.

mod apply_subjects;
mod create_session;
mod import_sessions;
mod introspect;
mod issue_service_token;
mod keys;
mod list_sessions;
mod refresh;
mod register_source;
mod report_activity;
mod revoke_sessions;
mod sign_out;

use std::{pin::Pin, sync::Arc};

use carelink_platform::{
    clock::Timestamp,
    events::{Actor, EventType, Object},
    grpc::Caller,
};
use carelink_proto::{
    audit::Personal,
    token::{
        ApplySubjectsRequest, ApplySubjectsResponse, CreateSessionRequest, CreateSessionResponse, ImportSessionsRequest,
        ImportSessionsResponse, IntrospectRequest, IntrospectResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
        ListKeysRequest, ListKeysResponse, ListSessionsRequest, ListSessionsResponse, Origin, RefreshRequest, RefreshResponse,
        RegisterSourceRequest, RegisterSourceResponse, ReportActivityRequest, ReportActivityResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, RotateKeysRequest, RotateKeysResponse, SignOutRequest, SignOutResponse, TokenPair, WatchRequest,
        WatchResponse, WithdrawKeyRequest, WithdrawKeyResponse, token_service_server::TokenService,
    },
};
use futures::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

pub(crate) use self::introspect::verify_user;
use crate::{
    App, Error,
    domain::{
        legacy::Read,
        presented::{Presented, Unreadable, names_another_key},
        session::Session,
    },
    store,
};

/// What an event keeps of an address and of a user agent.
const MAX_ORIGIN_BYTES: usize = 256;
/// How long an operator's words may be.
const MAX_TEXT_BYTES: usize = 1_000;

/// The service as tonic calls it.
#[derive(Clone, Debug)]
pub(crate) struct Rpc(pub(crate) App);

#[tonic::async_trait]
impl TokenService for Rpc {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Result<Response<CreateSessionResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(create_session::create_session(&self.0, &extensions, message).await?))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        Ok(Response::new(refresh::refresh(&self.0, request.into_inner()).await?))
    }

    async fn introspect(&self, request: Request<IntrospectRequest>) -> Result<Response<IntrospectResponse>, Status> {
        Ok(Response::new(introspect::introspect(&self.0, request.into_inner()).await?))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        Ok(Response::new(sign_out::sign_out(&self.0, request.into_inner()).await?))
    }

    async fn revoke_sessions(&self, request: Request<RevokeSessionsRequest>) -> Result<Response<RevokeSessionsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(revoke_sessions::revoke_sessions(&self.0, &extensions, message).await?))
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Result<Response<ListSessionsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(list_sessions::list_sessions(&self.0, &extensions, message).await?))
    }

    async fn apply_subjects(&self, request: Request<ApplySubjectsRequest>) -> Result<Response<ApplySubjectsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(apply_subjects::apply_subjects(&self.0, &extensions, message).await?))
    }

    async fn register_source(&self, request: Request<RegisterSourceRequest>) -> Result<Response<RegisterSourceResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(register_source::register_source(&self.0, &extensions, message).await?))
    }

    async fn import_sessions(&self, request: Request<ImportSessionsRequest>) -> Result<Response<ImportSessionsResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(import_sessions::import_sessions(&self.0, &extensions, message).await?))
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        Ok(Response::new(keys::list_keys(&self.0).await?))
    }

    async fn rotate_keys(&self, request: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(keys::rotate_keys(&self.0, &extensions, message).await?))
    }

    async fn issue_service_token(&self, request: Request<IssueServiceTokenRequest>) -> Result<Response<IssueServiceTokenResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(issue_service_token::issue_service_token(&self.0, &extensions, message).await?))
    }

    async fn withdraw_key(&self, request: Request<WithdrawKeyRequest>) -> Result<Response<WithdrawKeyResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(keys::withdraw_key(&self.0, &extensions, message).await?))
    }

    async fn report_activity(&self, request: Request<ReportActivityRequest>) -> Result<Response<ReportActivityResponse>, Status> {
        Ok(Response::new(report_activity::report_activity(&self.0, request.into_inner()).await?))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let messages = self.0.feed.subscribe(Caller::of(request.extensions())?).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// Reads a refresh token: ours, or a predecessor's. An access token of ours has the wrong type.
async fn read_refresh(app: &App, token: &str) -> Result<Presented, Error> {
    let mut held = app.held();
    if !held.mint.refresh.is_ours(token)
        && !held.mint.access.is_ours(token)
        && names_another_key(token)
        && app.keys.look_again(&held).await?
    {
        held = app.held();
    }
    if held.mint.refresh.is_ours(token) {
        return Ok(held.mint.refresh.read(token)?);
    }
    if held.mint.access.payload(token).is_ok() {
        return Err(Unreadable::WrongType.into());
    }
    let now = app.now();
    let genuine = |read: &Result<Read, Unreadable>| !matches!(read, Err(Unreadable::Invalid));
    let mut judged: Vec<_> = held.sources.iter().map(|source| source.read(token, now)).filter(genuine).collect();
    // Sources that share a key (one a copy of the other) all know the token for theirs; it is that one's which imported it.
    let signed = app.config.legacy.signed_until()?;
    if judged.len() > 1 || signed.is_some() {
        for read in judged.iter().flatten() {
            if store::find_session(&app.store, read.presented.session).await?.is_some() {
                return Ok(read.presented);
            }
        }
    }
    if let Some(until) = signed {
        for read in judged.iter().flatten() {
            if first_sight(app, read, until).await? {
                return Ok(read.presented);
            }
        }
    }
    Ok(judged.pop().unwrap_or(Err(Unreadable::Invalid))?.presented)
}

/// Makes a token that no table of its source has the session that it is, where it is to be believed (L3).
async fn first_sight(app: &App, read: &Read, until: Timestamp) -> Result<bool, Error> {
    let (trail, source) = (app.trail.clone(), read.source.clone());
    let event = Arc::new(move |subject, now| {
        trail.note(EventType::SessionStarted, now, |event| event.actor(Actor::User(subject)).object(Object::source(&source)))
    });
    Ok(store::first_sight(&app.store, read.clone(), until, event).await?)
}

/// The present pair of a session, encoded. Another replica may have minted it with keys that are not known here yet.
async fn pair(app: &App, session: &Session) -> Result<TokenPair, Error> {
    let pair = match app.held().mint.pair(session) {
        Some(pair) => pair,
        None => {
            app.keys.reload().await?;
            app.held().mint.pair(session).ok_or(Error::KeyGone)?
        }
    };
    Ok(TokenPair {
        access_token: pair.access,
        refresh_token: pair.refresh,
        access_expires: session.minted.access_expires.as_secs(),
        session_ends: session.ends_at.as_secs(),
    })
}

/// The personal part: where a request came from.
fn personal(origin: Option<Origin>) -> Personal {
    let Origin { network, user_agent } = origin.unwrap_or_default();
    Personal { network: at_most(network, MAX_ORIGIN_BYTES), user_agent: at_most(user_agent, MAX_ORIGIN_BYTES), text: String::new() }
}

/// The beginning of a text that a caller took from somewhere.
fn at_most(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// The name that a call gives itself, so that it may be sent again; empty: it has none.
fn call(bytes: &[u8]) -> Result<Option<Uuid>, Error> {
    if bytes.is_empty() { Ok(None) } else { uuid(bytes, "a call's name has 16 bytes").map(Some) }
}

fn uuid(bytes: &[u8], error: &'static str) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::Input(error))
}

/// Reads a JSON list as it is stored.
fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Microseconds as the contracts have them; 0 for never.
fn micros(at: Option<Timestamp>) -> i64 {
    at.unwrap_or(Timestamp::ZERO).as_micros()
}
