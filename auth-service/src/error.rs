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

/// When it is worth asking for another link.
const LINKS_AGAIN: Duration = Duration::from_secs(15 * 60);

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
    /// So many passwords in a row were wrong that this way to the account is closed (C5).
    #[error("too many wrong passwords in a row")]
    GuessesUsedUp {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A link that is wrong, used or old.
    #[error("the link is not good")]
    Link,
    /// Too many links were asked for from this network.
    #[error("too many links were asked for")]
    TooManyLinks,
    /// No letters leave here.
    #[error("mail is not configured")]
    MailUnset,
    /// No letter can reach the user.
    #[error("the user has no e-mail address or is disabled")]
    NoLetter,
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
    /// Not now: the trail is too far behind (A6), or nobody vouches for the user (V3).
    #[error(transparent)]
    Refused(Failure),
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
            Error::GuessesUsedUp { .. } | Error::TooManyLinks => Reason::Throttled,
            Error::Link => Reason::LinkInvalid,
            Error::MailUnset => Reason::MailUnset,
            Error::NoLetter => Reason::UserUnreachable,
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
            Error::Refused(_) => {
                let Error::Refused(failure) = error else { return Self::new(Reason::Internal) };
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
            Error::Throttled { retry_after } | Error::GuessesUsedUp { retry_after } => failure.retry_after(retry_after),
            Error::TooManyLinks => failure.retry_after(LINKS_AGAIN),
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
