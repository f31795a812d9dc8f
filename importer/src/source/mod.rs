//! A source: where the predecessor's rows come from. Opening it finds its tables; streaming it reads them once.
//!
//! One thread reads, in one transaction, and is at most [`AHEAD`] batches of [`BATCH`] rows ahead of whoever takes them:
//! memory does not grow with the source. Readers of other databases join as variants of [`Source`]; what they share,
//! finding the tables (`layout`) and judging a row (`row`), knows nothing of SQLite.

pub(crate) mod layout;
mod row;
pub(crate) mod signatures;
mod sqlite;

use std::{path::Path, thread};

use carelink_platform::clock::Timestamp;
use carelink_proto::auth::LegacyUser;
use tokio::sync::mpsc;

use self::{
    layout::{Layout, Wanted},
    signatures::Signatures,
    sqlite::Sqlite,
};
use crate::{error::SourceError, report::RefusedUser};

/// Rows in a batch, at most.
pub const BATCH: usize = 500;
/// Batches read ahead of whoever takes them, at most.
pub const AHEAD: usize = 2;
/// A batch is full at this many bytes, however few rows it has: well below what a gRPC message may have.
const BATCH_BYTES: usize = 1024 * 1024;

/// An opened source, its tables found, its rows not yet read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A SQLite file.
    Sqlite(Sqlite),
}

/// How many rows a source has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// In the table of users.
    pub users: u64,
    /// In SimpleJWT's table of outstanding tokens; 0 where there is none.
    pub tokens: u64,
}

/// Which rows to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Users alone.
    Users,
    /// Users, then the outstanding tokens.
    UsersAndTokens,
}

/// What the reading thread hands over at once.
#[derive(Debug)]
pub enum Batch {
    /// Users, in the order of their ids.
    Users {
        /// Those that can be read.
        read: Vec<LegacyUser>,
        /// Those that cannot.
        refused: Vec<RefusedUser>,
    },
    /// Outstanding tokens, in the order of their ids; after the last user.
    Tokens {
        /// Those that can be read.
        read: Vec<SourceToken>,
        /// Why others cannot.
        refused: Vec<&'static str>,
    },
}

/// An outstanding refresh token, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceToken {
    /// Its `jti` claim.
    pub jti: String,
    /// The legacy id of its user; `None` where the row names none that could exist.
    pub holder: Option<u32>,
    /// When it was made; [`Timestamp::ZERO`] where the source does not say.
    pub created: Timestamp,
    /// Its `exp` claim.
    pub expires: Timestamp,
    /// Whether the blacklist has it.
    pub blacklisted: bool,
}

impl Source {
    /// Opens `location` read-only, begins the one transaction that everything is read in, and finds the tables.
    ///
    /// # Errors
    /// One sentence about what `location` is or lacks.
    pub fn open(location: &str, wanted: &Wanted) -> Result<Self, SourceError> {
        if let Some((kind, _)) = location.split_once("://") {
            return Err(SourceError::NotYet { kind: format!("{kind}://") });
        }
        Ok(Self::Sqlite(Sqlite::open(Path::new(location), wanted)?))
    }

    /// The tables and columns that were found.
    pub fn layout(&self) -> &Layout {
        match self {
            Self::Sqlite(sqlite) => sqlite.layout(),
        }
    }

    /// How many rows there are.
    pub fn totals(&self) -> Totals {
        match self {
            Self::Sqlite(sqlite) => sqlite.totals(),
        }
    }

    /// Blacklisted tokens none of which has a recorded successor, in a source too old to record any (before SimpleJWT 5.5).
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn unrecorded_rotations(&self) -> Result<u64, SourceError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.unrecorded_rotations(),
        }
    }

    /// Whether a key signed the newest outstanding tokens.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub fn signatures(&self, key: &[u8], algorithm: &str) -> Result<Signatures, SourceError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.signatures(key, algorithm),
        }
    }

    /// Reads all rows on a thread of their own.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn stream(self, rows: Rows) -> Result<Batches, SourceError> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        thread::Builder::new()
            .name("source-reader".into())
            .spawn(move || {
                let sink = Sink(sender);
                let end = match self {
                    Self::Sqlite(sqlite) => sqlite.read(rows, &sink),
                };
                // Whoever took the rows may be gone; then nobody wants to hear how it ended.
                let _ = match end {
                    Ok(()) => sink.0.blocking_send(Ok(None)),
                    Err(Interrupted::Unreadable(error)) => sink.0.blocking_send(Err(error)),
                    Err(Interrupted::NobodyListens) => Ok(()),
                };
            })
            .map_err(|_| SourceError::Stopped)?;
        Ok(Batches(receiver))
    }
}

/// The rows of a source as they are read.
#[derive(Debug)]
pub struct Batches(mpsc::Receiver<Result<Option<Batch>, SourceError>>);

impl Batches {
    /// The next batch; `None` after the last.
    ///
    /// # Errors
    /// Where the source cannot be read on.
    pub async fn next(&mut self) -> Result<Option<Batch>, SourceError> {
        self.0.recv().await.unwrap_or(Err(SourceError::Stopped))
    }

    /// How many batches wait at most: the bound on memory.
    pub fn capacity(&self) -> usize {
        self.0.max_capacity()
    }
}

/// Why a reader stops before the end.
enum Interrupted {
    Unreadable(SourceError),
    NobodyListens,
}

impl From<SourceError> for Interrupted {
    fn from(error: SourceError) -> Self {
        Self::Unreadable(error)
    }
}

/// Where a reader puts its batches; waits while [`AHEAD`] of them are untaken.
struct Sink(mpsc::Sender<Result<Option<Batch>, SourceError>>);

impl Sink {
    fn put(&self, batch: Batch) -> Result<(), Interrupted> {
        self.0.blocking_send(Ok(Some(batch))).map_err(|_| Interrupted::NobodyListens)
    }
}

/// Rows on their way into one batch.
struct Gathering<Read, Refused> {
    read: Vec<Read>,
    refused: Vec<Refused>,
    bytes: usize,
}

impl<Read, Refused> Gathering<Read, Refused> {
    fn new() -> Self {
        Self { read: Vec::new(), refused: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, row: Result<Read, Refused>, bytes: usize) {
        self.bytes += bytes;
        match row {
            Ok(read) => self.read.push(read),
            Err(refused) => self.refused.push(refused),
        }
    }

    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.refused.is_empty()
    }

    fn is_full(&self) -> bool {
        self.read.len() + self.refused.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self) -> (Vec<Read>, Vec<Refused>) {
        self.bytes = 0;
        (std::mem::take(&mut self.read), std::mem::take(&mut self.refused))
    }
}
