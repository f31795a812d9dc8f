//! What the audit service can answer instead of an answer.

use carelink_database::StoreError;
use carelink_platform::errors::{Failure, Reason};
use tonic::Status;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense; the sentence says why.
    #[error("{0}")]
    Input(String),
    /// The cursor is none of ours.
    #[error("the cursor is not one that was handed out")]
    Cursor,
    /// A thread of ours did not get to its end.
    #[error("the personal parts could not be opened: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(message) => Self::new(Reason::InputInvalid).message(message),
            Error::Cursor => Self::new(Reason::CursorInvalid),
            Error::Interrupted(_) => Self::new(Reason::Internal).caused_by(error),
            Error::Store(error) => error.into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}
