//! Who may call what, as data (G2). No row, no entry.

use std::sync::Arc;

use tonic::{Extensions, metadata::MetadataMap};
use uuid::Uuid;

use crate::errors::{Failure, Reason};

/// Metadata by which an operator's client tells who stands behind it; never proven.
pub(crate) const CLAIMED_BY: &str = "x-carelink-claimed-by";

/// Who is calling, as the transport proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Another service, by its identity: `gateway`, `auth-service`, `token-service`, `audit-service`.
    Service(&'static str),
    /// Somebody at the data directory's socket (G3).
    Operator(Operator),
}

/// Somebody at the data directory's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The peer's user id, as the kernel says.
    pub uid: u32,
    /// Who stands behind it (SUDO_USER), as the client claims.
    pub claimed: Option<String>,
}

/// A user whose access token came along and was verified by the callee.
#[derive(Clone, Debug)]
pub struct User {
    /// The subject.
    pub subject: Uuid,
    /// The number of U4.
    pub user_id: String,
    /// The session the token belongs to.
    pub session: Uuid,
    /// What the token grants.
    pub roles: Arc<[String]>,
}

/// Whether a user's access token must come along where a service calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRule {
    /// The service acts by its own right.
    None,
    /// It acts for a user who has one of these roles.
    AnyRole(&'static [&'static str]),
}

/// One row of a service's table.
#[derive(Clone, Copy, Debug)]
pub struct CallerRow {
    /// The RPC as its path: `/carelink.token.v1.TokenService/Refresh`.
    pub method: &'static str,
    /// Which services may call it.
    pub services: &'static [&'static str],
    /// What they must bring.
    pub user: UserRule,
    /// Whether operators may call it.
    pub operator: bool,
}

impl CallerRow {
    /// For services, by their own right.
    pub const fn services(method: &'static str, services: &'static [&'static str]) -> Self {
        Self { method, services, user: UserRule::None, operator: false }
    }

    /// For operators, and for a gateway that brings a user with one of these roles.
    pub const fn administration(method: &'static str, roles: &'static [&'static str]) -> Self {
        Self { method, services: &["gateway"], user: UserRule::AnyRole(roles), operator: true }
    }

    /// Opens the row to operators as well.
    #[must_use]
    pub const fn and_operators(self) -> Self {
        Self { operator: true, ..self }
    }

    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Service(name) => self.services.contains(name),
            Caller::Operator(_) => self.operator,
        }
    }
}

impl Caller {
    /// Who is calling, for a handler. Absent only where no stack stands before it.
    ///
    /// # Errors
    /// Where nothing proved an identity.
    pub fn of(extensions: &Extensions) -> Result<&Self, Failure> {
        extensions.get::<Self>().ok_or_else(|| Failure::new(Reason::CallerRefused))
    }

    /// As it appears in the trail: `gateway`, `uid:1000`.
    pub fn name(&self) -> String {
        match self {
            Self::Service(name) => (*name).to_owned(),
            Self::Operator(operator) => format!("uid:{}", operator.uid),
        }
    }
}

impl User {
    /// The user for whom a service calls, if one came along.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Self>()
    }

    /// Whether the token grants one of these.
    pub fn has_any(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }
}

/// The bearer token that came along.
pub(crate) fn bearer(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}
