//! `/v1/admin`: users, sessions, keys and the trail, for administrators and auditors; auditors read. Each is one RPC with the token of
//! whoever asks, and the service that answers judges token and role again (G2).

use axum::response::Response;
use carelink_platform::{clock::Timestamp, errors::Reason};
use carelink_proto::{
    auth::{ListUsersRequest, User, UserOrder},
    token::{KeyState, KeyUse, ListKeysRequest, ListSessionsRequest, Session, SessionMode, SigningKey, revoke_sessions_request::Target},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Asker,
    query::{Query, cursor, id_of, moment, uuid, wrong},
    sessions::{Ended, revoke},
    told,
};
use crate::{answer::json, app::App, edge::Call, routes::Refused};

/// A user, without credentials.
#[derive(Serialize, JsonSchema)]
struct UserShown {
    id: Option<Uuid>,
    /// The number that tokens name.
    user_id: i64,
    username: String,
    email: String,
    full_name: String,
    active: bool,
    roles: Vec<String>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    created_at: Option<Timestamp>,
    /// RFC 3339; null for never.
    #[schemars(with = "Option<String>")]
    last_sign_in_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    password_changed_at: Option<Timestamp>,
    /// How the password is stored: `argon2id`, `unusable`.
    hasher: String,
    /// The database they were imported from; empty for one made here.
    source: String,
}

/// A page of users.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Users {
    users: Vec<UserShown>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// Anybody's session.
#[derive(Serialize, JsonSchema)]
struct SessionShown {
    id: Option<Uuid>,
    subject: Option<Uuid>,
    /// The number that tokens name.
    user_id: i64,
    roles: Vec<String>,
    /// In words.
    device: String,
    /// In words, never an address.
    network: String,
    /// Whether a browser holds it in cookies.
    browser: bool,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    signed_in_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    last_active_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    ends_at: Option<Timestamp>,
    /// RFC 3339; null while it lives.
    #[schemars(with = "Option<String>")]
    ended_at: Option<Timestamp>,
    /// Why it ended; empty while it lives.
    end_reason: String,
}

/// A page of sessions, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Sessions {
    sessions: Vec<SessionShown>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// A key that signs tokens, without its secret.
#[derive(Serialize, JsonSchema)]
struct KeyShown {
    kid: String,
    /// `access` or `refresh`.
    r#use: &'static str,
    /// `next`, `signing` or `retired`.
    state: &'static str,
    algorithm: String,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    created_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    signs_at: Option<Timestamp>,
    /// RFC 3339.
    #[schemars(with = "Option<String>")]
    retired_at: Option<Timestamp>,
}

/// All keys.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Keys {
    keys: Vec<KeyShown>,
}

/// `GET /v1/admin/users`.
pub(crate) async fn users(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let query = Query::of(&call, &["prefix", "role", "disabled", "order", "not_since", "cursor", "limit"])?;
    let order = match query.text("order").as_str() {
        "" | "name" => UserOrder::Unspecified,
        "last_sign_in" => UserOrder::LastSignIn,
        _ => return Err(wrong("`order` is name or last_sign_in").into()),
    };
    let request = ListUsersRequest {
        prefix: query.text("prefix"),
        role: query.text("role"),
        only_disabled: query.flag("disabled")?,
        page_size: query.limit()?,
        cursor: query.text("cursor"),
        order: order.into(),
        last_sign_in_before_us: query.time("not_since")?,
    };
    let page = app.clients.list_users(asker.asks(request)).await?;
    let users = page.users.into_iter().map(user).collect();
    Ok(json(StatusCode::OK, &Users { users, next_cursor: cursor(page.next_cursor) }))
}

fn user(user: User) -> UserShown {
    UserShown {
        id: uuid(&user.id),
        user_id: user.user_id,
        username: user.username,
        email: user.email,
        full_name: user.full_name,
        active: user.active,
        roles: user.roles,
        created_at: moment(user.created_us),
        last_sign_in_at: moment(user.last_sign_in_us),
        password_changed_at: moment(user.password_changed_us),
        hasher: user.hasher,
        source: user.source,
    }
}

/// `GET /v1/admin/sessions`.
pub(crate) async fn sessions(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let query = Query::of(&call, &["user", "ended", "cursor", "limit"])?;
    let request = ListSessionsRequest {
        subject: query.id("user")?.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        include_ended: query.flag("ended")?,
        page_size: query.limit()?,
        cursor: query.text("cursor"),
    };
    let page = app.clients.list_sessions(asker.asks(request)).await?;
    let sessions = page.sessions.into_iter().map(session).collect();
    Ok(json(StatusCode::OK, &Sessions { sessions, next_cursor: cursor(page.next_cursor) }))
}

fn session(session: Session) -> SessionShown {
    let browser = session.mode() == SessionMode::Cookies;
    SessionShown {
        id: uuid(&session.id),
        subject: uuid(&session.subject),
        user_id: session.user_id,
        roles: session.roles,
        device: session.device,
        network: session.network,
        browser,
        signed_in_at: moment(session.created_us),
        last_active_at: moment(session.last_active_us),
        ends_at: moment(session.ends_us),
        ended_at: moment(session.ended_us),
        end_reason: session.end_reason,
    }
}

/// `DELETE /v1/admin/sessions/{id}`.
pub(crate) async fn end_session(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let reason = Query::of(&call, &["reason"])?.text("reason");
    let id = id_of(&call).ok_or(Reason::SessionNotFound)?;
    revoke(app, &asker, Target::Session(id.as_bytes().to_vec()), reason).await?;
    Ok(told::nothing())
}

/// `DELETE /v1/admin/sessions`: all of one user.
pub(crate) async fn end_sessions(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let query = Query::of(&call, &["user", "reason"])?;
    let user = query.id("user")?.ok_or_else(|| wrong("`user` says whose sessions"))?;
    let ended = revoke(app, &asker, Target::Subject(user.as_bytes().to_vec()), query.text("reason")).await?;
    Ok(json(StatusCode::OK, &Ended { ended }))
}

/// `GET /v1/admin/keys`.
pub(crate) async fn keys(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    Query::of(&call, &[])?;
    let listed = app.clients.list_keys(asker.asks(ListKeysRequest {})).await?;
    Ok(json(StatusCode::OK, &Keys { keys: listed.keys.into_iter().map(key).collect() }))
}

fn key(key: SigningKey) -> KeyShown {
    let r#use = match key.r#use() {
        KeyUse::Access => "access",
        KeyUse::Refresh => "refresh",
        KeyUse::Unspecified => "unknown",
    };
    let state = match key.state() {
        KeyState::Next => "next",
        KeyState::Signing => "signing",
        KeyState::Retired => "retired",
        KeyState::Unspecified => "unknown",
    };
    KeyShown {
        r#use,
        state,
        kid: key.kid,
        algorithm: key.algorithm,
        created_at: moment(key.created_us),
        signs_at: moment(key.signs_us),
        retired_at: moment(key.retired_us),
    }
}
