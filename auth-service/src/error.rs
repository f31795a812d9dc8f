//! What auth-service can answer with instead of a result.

use std::time::Duration;

use carelink_database::StoreError;
use carelink_platform::{
    config::ConfigError,
    errors::{Failure, Reason},
};
use tonic::Status;

use crate::{
    domain::{assertion::SignerError, names::NameError, password::PasswordRefused, roles::RoleError},
    pool::PoolError,
};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Name and password do not belong together, or to nobody who may sign in.
    #[error("the credentials were refused")]
    Credentials,
    /// Too many sign-ins at once.
    #[error("too many sign-ins at once")]
    Throttled {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The hashing threads do not answer.
    #[error("the hashing threads do not answer")]
    Hashing,
    /// No such user.
    #[error("no such user")]
    NoUser,
    /// Somebody has that name.
    #[error("the name is taken")]
    NameTaken,
    /// No number is left below 2^31 (U4).
    #[error("no user number is left below 2^31")]
    NumbersExhausted,
    /// That cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// That cannot be a role.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// That may not be a password.
    #[error(transparent)]
    Password(#[from] PasswordRefused),
    /// Something is taken away, and nobody says why.
    #[error("no reason given")]
    NoReason,
    /// The request says what it must not.
    #[error("{0}")]
    Input(&'static str),
    /// The cursor was never handed out.
    #[error("not a cursor")]
    Cursor,
    /// The caller is nobody the table knows.
    #[error("nobody proved who is calling")]
    Caller,
    /// The key for assertions.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The hashing threads could not be started.
    #[error("the hashing threads could not be started")]
    Threads(#[source] std::io::Error),
    /// The trail is too far behind for this (A6).
    #[error(transparent)]
    Backlog(Failure),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Full { retry_after } => Self::Throttled { retry_after },
            PoolError::Failed => Self::Hashing,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Credentials => Reason::CredentialsInvalid,
            Error::Throttled { .. } => Reason::QueueFull,
            Error::Hashing => Reason::Overloaded,
            Error::NoUser => Reason::UserNotFound,
            Error::NameTaken => Reason::NameTaken,
            Error::Name(_) => Reason::NameInvalid,
            Error::Role(_) => Reason::RoleInvalid,
            Error::Password(PasswordRefused::TooShort(_)) => Reason::PasswordTooShort,
            Error::Password(PasswordRefused::TooLong) => Reason::PasswordTooLong,
            Error::Password(_) => Reason::PasswordCommon,
            Error::NoReason => Reason::ReasonRequired,
            Error::Input(_) => Reason::InputInvalid,
            Error::Cursor => Reason::CursorInvalid,
            Error::Caller => Reason::CallerRefused,
            Error::Backlog(_) => {
                let Error::Backlog(failure) = error else { return Self::new(Reason::Internal) };
                return failure;
            }
            Error::NumbersExhausted | Error::Signer(_) | Error::Threads(_) | Error::Config(_) => Reason::Internal,
            Error::Store(_) => {
                let Error::Store(error) = error else { return Self::new(Reason::Internal) };
                return error.into();
            }
        };
        let failure = Self::new(reason);
        match error {
            Error::Throttled { retry_after } => failure.retry_after(retry_after),
            Error::Name(error) => failure.message(error.to_string()),
            Error::Role(error) => failure.message(error.to_string()),
            Error::Password(error) => failure.message(format!("This password cannot be used: {error}")),
            Error::Input(message) => failure.message(message),
            error if reason == Reason::Internal => failure.caused_by(error),
            _ => failure,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}
