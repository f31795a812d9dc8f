//! What token-service can answer with instead of a result.

use carelink_database::StoreError;
use carelink_platform::{
    config::ConfigError,
    errors::{Failure, Reason},
    secrets::SecretError,
};
use tonic::Status;

use crate::domain::{
    assertion::Disbelief, mint::KeyUnusable, presented::Unreadable, refresh::Outcome, service::Denied, session::EndReason,
};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is not one of ours, or not of that kind.
    #[error("token {0}")]
    Token(#[from] Unreadable),
    /// The token is genuine, and its session does not go on with it (S3).
    #[error("refused: {0:?}")]
    Refused(Outcome),
    /// The assertion is not believed (G1).
    #[error("assertion {0}")]
    Assertion(#[from] Disbelief),
    /// The assertion began a session that has moved on (S10).
    #[error("assertion used before")]
    AssertionUsed,
    /// What is held of the subject does not admit a session any more (U2).
    #[error("subject no longer admitted")]
    NotAdmitted,
    /// The service may not have the token it asks for.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The user who came along may not do that to others.
    #[error("a role is required")]
    RoleRequired,
    /// No such session.
    #[error("no such session")]
    NoSession,
    /// No such source.
    #[error("no such source")]
    NoSource,
    /// The request says what it must not.
    #[error("{0}")]
    Input(&'static str),
    /// Something is taken away, and nobody says why.
    #[error("no reason given")]
    NoReason,
    /// Nobody has written the database's pulse for too long (T5).
    #[error("the database takes no writes")]
    NoPulse,
    /// A key that a session was minted with is gone.
    #[error("a signing key is gone")]
    KeyGone,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyUnusable),
    /// A sealed key cannot be opened.
    #[error("a key in the database cannot be opened; is this the master key it was sealed under?")]
    Sealed(#[from] SecretError),
    /// The trail is too far behind for anything that would add to it (A6).
    #[error(transparent)]
    Backlog(Failure),
    /// There is no room for one more of this caller.
    #[error(transparent)]
    Turned(Failure),
    /// No such key.
    #[error("no such key")]
    NoKey,
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Backlog(failure) | Error::Turned(failure) => return failure,
            Error::Store(error) => return error.into(),
            error => error,
        };
        let reason = match &error {
            Error::Token(Unreadable::Invalid) => Reason::TokenInvalid,
            Error::Token(Unreadable::Expired) => Reason::TokenExpired,
            Error::Token(Unreadable::NoExpiry) => Reason::TokenExpMissing,
            Error::Token(Unreadable::NoType) => Reason::TokenTypeMissing,
            Error::Token(Unreadable::WrongType) => Reason::TokenTypeWrong,
            Error::Refused(outcome) => of_outcome(*outcome),
            Error::Assertion(_) => Reason::AssertionInvalid,
            Error::AssertionUsed => Reason::AssertionUsed,
            Error::NotAdmitted => Reason::CredentialsInvalid,
            Error::Denied(_) => Reason::CallerRefused,
            Error::RoleRequired => Reason::RoleRequired,
            Error::NoSession => Reason::SessionNotFound,
            Error::NoSource => Reason::SourceNotFound,
            Error::NoPulse => Reason::Unready,
            Error::Input(_) => Reason::InputInvalid,
            Error::NoReason => Reason::ReasonRequired,
            Error::NoKey => Reason::NotFound,
            Error::KeyGone
            | Error::Key(_)
            | Error::Sealed(_)
            | Error::Config(_)
            | Error::Backlog(_)
            | Error::Turned(_)
            | Error::Store(_) => Reason::Internal,
        };
        let failure = Self::new(reason);
        match error {
            Error::Refused(Outcome::Late) => failure.retry_after(std::time::Duration::from_secs(1)),
            Error::Input(message) => failure.message(message),
            Error::NoKey => failure.message("there is no key of that id; `carelink key list` has them"),
            Error::Denied(denied) => failure.message(denied.to_string()),
            error if reason == Reason::Internal => failure.caused_by(error),
            _ => failure,
        }
    }
}

/// The reason of an outcome that is no success.
fn of_outcome(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Late => Reason::Late,
        Outcome::Ended(EndReason::Disabled) => Reason::UserInactive,
        // Whether the sweeper has come already makes no difference to anybody.
        Outcome::Ended(EndReason::Expired) => Reason::SessionExpired,
        Outcome::Ended(EndReason::Replaced) => Reason::SessionReplaced,
        Outcome::Ended(_) => Reason::SessionRevoked,
        Outcome::Expired => Reason::SessionExpired,
        Outcome::Reused => Reason::SessionReused,
        Outcome::StateLost => Reason::SessionStateLost,
        Outcome::Rotated | Outcome::Replayed => Reason::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Turned(failure) = &error {
            return failure.to_status(); // without a line in the log: there may be many
        }
        Failure::from(error).into()
    }
}
