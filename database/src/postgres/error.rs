//! What PostgreSQL's errors mean to a store.

use sqlx::{Error, error::DatabaseError};

use crate::StoreError;

/// What is left of the connection after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Usable, once a transaction that was open is rolled back.
    Usable,
    /// Gone, or in a state that nobody knows.
    Lost,
}

/// The meaning of an error, and what it leaves of the connection.
pub(crate) fn meaning(error: &Error) -> (StoreError, Left) {
    let Error::Database(database) = error else {
        return match error {
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => (StoreError::Unavailable(error.to_string()), Left::Lost),
            _ => (StoreError::Engine(error.to_string()), Left::Lost),
        };
    };
    let code = database.code().unwrap_or_default();
    let message = || format!("{} ({code})", database.message());
    let left = match code.as_ref() {
        // Shut down, crashed, starting up; idle for too long in a transaction; a prepared statement that is not there (a pooler).
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" | "26000" | "0A000" | "42P05" => Left::Lost,
        code if code.starts_with("08") => Left::Lost,
        _ => Left::Usable,
    };
    let meaning = match code.as_ref() {
        "23505" => StoreError::Conflict { constraint: constraint(database.as_ref()) },
        "40001" | "40P01" => StoreError::Raced(message()),
        "53100" => StoreError::Full,
        "25006" => StoreError::ReadOnly(message()),
        // Cancelled (too slow), a lock not had in time, out of something.
        "57014" | "55P03" | "53000" | "53200" | "53300" | "53400" | "58000" | "58030" => StoreError::Unavailable(message()),
        "08P01" if database.message().contains("startup parameter") => {
            StoreError::Engine(format!("{}: behind a pooler set database.pooler = true", message()))
        }
        "26000" | "42P05" => StoreError::Engine(format!("{}: behind a pooler set database.pooler = true", message())),
        _ if left == Left::Lost && code != "0A000" => StoreError::Unavailable(message()),
        _ => StoreError::Engine(message()),
    };
    (meaning, left)
}

/// Whether the server is away: nobody listens, starting up, shutting down.
pub(super) fn is_away(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Protocol(_) => true,
        Error::Database(database) => matches!(database.code().as_deref(), Some("57P01" | "57P02" | "57P03")),
        _ => false,
    }
}

/// Whether connecting may succeed in a moment: the server comes, or others close connections of too many.
pub(super) fn may_pass(error: &Error) -> bool {
    is_away(error) || matches!(error, Error::Database(database) if database.code().as_deref() == Some("53300"))
}

fn constraint(error: &dyn DatabaseError) -> String {
    let table = error.table().map(|table| format!("{table}: ")).unwrap_or_default();
    format!("{table}{}", error.constraint().unwrap_or("unique"))
}
