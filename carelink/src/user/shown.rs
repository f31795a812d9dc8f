//! Users as JSON.

use carelink_proto::auth;
use serde::Serialize;

use crate::output::{time, uuid};

/// What a change revoked: `none`, `done` with its number, or `pending` (U3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Revocation {
    pub(super) revocation: &'static str,
    #[serde(rename = "revocation_number", skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
}

impl Revocation {
    pub(super) fn new(pending: bool, number: u64) -> Self {
        let revocation = match (pending, number) {
            (true, _) => "pending",
            (false, 0) => "none",
            (false, _) => "done",
        };
        Self { revocation, number: Some(number).filter(|number| *number != 0) }
    }
}

/// One user.
#[derive(Serialize)]
pub(super) struct One {
    pub(super) user: User,
}

/// A page of users.
#[derive(Serialize)]
pub(super) struct Many<'a> {
    pub(super) users: Vec<User>,
    pub(super) next_cursor: Option<&'a str>,
}

/// A user after a change, and what that revoked.
#[derive(Serialize)]
pub(super) struct Changed {
    pub(super) user: User,
    #[serde(flatten)]
    pub(super) revocation: Revocation,
}

/// A user as JSON.
#[derive(Serialize)]
pub(super) struct User {
    id: String,
    user_id: i64,
    username: String,
    email: String,
    full_name: String,
    active: bool,
    roles: Vec<String>,
    version: u64,
    hasher: String,
    source: Option<String>,
    created_at: Option<String>,
    last_sign_in_at: Option<String>,
    password_changed_at: Option<String>,
}

impl From<&auth::User> for User {
    fn from(user: &auth::User) -> Self {
        Self {
            id: uuid(&user.id),
            user_id: user.user_id,
            username: user.username.clone(),
            email: user.email.clone(),
            full_name: user.full_name.clone(),
            active: user.active,
            roles: user.roles.clone(),
            version: user.version,
            hasher: user.hasher.clone(),
            source: Some(user.source.clone()).filter(|source| !source.is_empty()),
            created_at: time(user.created_us),
            last_sign_in_at: time(user.last_sign_in_us),
            password_changed_at: time(user.password_changed_us),
        }
    }
}
