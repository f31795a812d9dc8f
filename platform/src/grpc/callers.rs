//! Who may call what, as data (G2). No row, no entry.

use std::{fmt, sync::Arc};

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
    /// Another service of the deployment, by its certificate's name: `billing`. It may call what is open to every one, and nothing else.
    Internal(Arc<str>),
    /// Somebody who runs CareLink (G3).
    Operator(Operator),
}

/// Somebody who runs CareLink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// What proves it.
    pub by: OperatorProof,
    /// Who stands behind it (SUDO_USER), as the client claims.
    pub claimed: Option<String>,
}

/// What proves that somebody is an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorProof {
    /// The user id of whoever is at the data directory's socket, as the kernel says.
    Uid(u32),
    /// An operator's certificate, by its name.
    Certificate(Arc<str>),
}

/// As it appears in the trail: `uid:1000`, `cert:alice`.
impl fmt::Display for OperatorProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
        }
    }
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
    /// Whether a stale verifier vouches for them and nobody else: something may be taken away for them, and nothing given (V3).
    pub stale: bool,
}

/// How a user's token must be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// For something that gives or changes: never by a stale verifier alone.
    Any,
    /// For something that may only take away: where nobody answers also by a stale verifier, which [`User::stale`] then says.
    TakesAway,
}

/// Whether a user's access token must come along where a service calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRule {
    /// The service acts by its own right.
    None,
    /// It acts for a user, whoever that is, on what is theirs.
    Any,
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
    /// Whether every service of the deployment may call it, also those that are none of CareLink's.
    pub internal: bool,
    /// Who waits behind whom where there is more to do than can be done.
    pub lane: Lane,
    /// How the user's token must be judged.
    pub effect: Effect,
}

/// Who waits behind whom where a server has more to do than it can: each lane has its own places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What takes something away, and what verifiers live by.
    First,
    /// Everything else.
    Usual,
    /// What waits long in a queue of its own, as sign-ins do.
    Patient,
    /// Whatever services ask that are none of CareLink's, be it of the first lane.
    Guests,
}

impl CallerRow {
    /// For services, by their own right.
    pub const fn services(method: &'static str, services: &'static [&'static str]) -> Self {
        Self { method, services, user: UserRule::None, operator: false, internal: false, lane: Lane::Usual, effect: Effect::Any }
    }

    /// For operators, and for a gateway that brings a user with one of these roles.
    pub const fn administration(method: &'static str, roles: &'static [&'static str]) -> Self {
        Self { user: UserRule::AnyRole(roles), operator: true, ..Self::services(method, &["gateway"]) }
    }

    /// For a gateway that brings any user, on what is theirs.
    pub const fn own(method: &'static str) -> Self {
        Self { user: UserRule::Any, ..Self::services(method, &["gateway"]) }
    }

    /// Opens the row to operators as well.
    #[must_use]
    pub const fn and_operators(self) -> Self {
        Self { operator: true, ..self }
    }

    /// Opens the row to every service of the deployment, by its own right.
    #[must_use]
    pub const fn and_every_service(self) -> Self {
        Self { internal: true, ..self }
    }

    /// Where it waits.
    #[must_use]
    pub const fn lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// It may take away, which a stale verifier lets pass (V3). Where it gives as well, the handler asks [`User::may_be_given`].
    #[must_use]
    pub const fn may_take_away(self) -> Self {
        Self { effect: Effect::TakesAway, ..self }
    }

    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Service(name) => self.services.contains(name),
            Caller::Internal(_) => self.internal,
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

    /// As it appears in the trail: `gateway`, `uid:1000`, `cert:alice`.
    pub fn name(&self) -> String {
        match self {
            Self::Service(name) => (*name).to_owned(),
            Self::Internal(name) => name.to_string(),
            Self::Operator(operator) => operator.by.to_string(),
        }
    }
}

impl User {
    /// The user for whom a service calls, if one came along.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Self>()
    }

    /// Whether something may be given on behalf of whoever stands behind a request, not only taken away (V3).
    ///
    /// # Errors
    /// Where a stale verifier alone vouches for the user.
    pub fn may_be_given(extensions: &Extensions) -> Result<(), Failure> {
        let stale = Self::of(extensions).is_some_and(|user| user.stale);
        if stale { Err(Failure::new(Reason::Unready)) } else { Ok(()) }
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
