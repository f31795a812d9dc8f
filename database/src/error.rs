//! What a store can fail with, and how that reaches a client.

use carelink_platform::errors::{Failure, Reason};

/// Why a statement or transaction did not come to pass. Nothing of it was stored; where PostgreSQL became [`StoreError::Unavailable`]
/// while it was committing, nobody knows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or its writer has stopped.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// No room left.
    #[error("no room left on the disk")]
    Full,
    /// It may not be written.
    #[error("the database may not be written: {0}")]
    ReadOnly(String),
    /// A unique constraint says no.
    #[error("conflicts with what is there: {constraint}")]
    Conflict {
        /// Table and column, as the engine names them.
        constraint: String,
    },
    /// A deadlock, or a race that the engine broke off, at every try.
    #[error("raced with others: {0}")]
    Raced(String),
    /// Its schema lacks a step.
    #[error("the {schema} schema lacks {migration}: run `carelink migrate` of this version first")]
    Older {
        /// Which.
        schema: &'static str,
        /// The first migration that is not there.
        migration: String,
    },
    /// It was written by a newer version.
    #[error(
        "the {schema} database was written by a newer version of CareLink (its `carelink migrate` applied {migration}); run that version or restore a backup"
    )]
    Newer {
        /// Which.
        schema: &'static str,
        /// The first migration this version does not know.
        migration: String,
    },
    /// A migration was changed after it had been applied here.
    #[error("the {schema} database was made by another text of migration {migration}; it cannot be trusted to fit")]
    Altered {
        /// Which.
        schema: &'static str,
        /// The migration.
        migration: String,
    },
    /// A row does not hold what the code expects; a programming error or damage.
    #[error("column {column}: {message}")]
    Decode {
        /// Which.
        column: String,
        /// What is wrong.
        message: String,
    },
    /// Anything else the engine says.
    #[error("{0}")]
    Engine(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let reason = match error {
            StoreError::Unavailable(_) | StoreError::ReadOnly(_) | StoreError::Raced(_) => Reason::StorageUnavailable,
            StoreError::Full => Reason::StorageFull,
            StoreError::Conflict { .. } => Reason::Conflict,
            _ => Reason::Internal,
        };
        Self::new(reason).caused_by(error)
    }
}
