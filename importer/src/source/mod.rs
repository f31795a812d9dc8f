//! A source: where the predecessor's rows come from. Opening it finds its tables; streaming it reads them once.
//!
//! One reader reads, in one transaction, and is at most [`AHEAD`] batches of [`BATCH`] rows ahead of whoever takes them:
//! memory does not grow with the source. What the readers share, finding the tables (`layout`), the statements (`texts`) and
//! judging a row (`row`), knows of no engine but how it says things.

mod gathering;
pub(crate) mod layout;
mod location;
mod row;
mod server;
pub(crate) mod signatures;
mod sqlite;
mod texts;

use std::thread;

use carelink_platform::clock::Timestamp;
use carelink_proto::auth::LegacyUser;
use tokio::sync::mpsc;

pub use self::location::Location;
use self::{
    gathering::Gathering,
    layout::{Layout, Wanted},
    location::At,
    server::Server,
    signatures::Signatures,
    sqlite::Sqlite,
};
use crate::{error::SourceError, report::RefusedUser};

/// Rows in a batch, at most.
pub const BATCH: usize = 500;
/// Batches read ahead of whoever takes them, at most.
pub const AHEAD: usize = 2;

/// An opened source, its tables found, its rows not yet read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// A SQLite file.
    Sqlite(Box<Sqlite>),
    /// PostgreSQL, MariaDB or MySQL.
    Server(Box<Server>),
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
    pub async fn open(location: &Location, wanted: &Wanted) -> Result<Self, SourceError> {
        match &location.0 {
            At::File(path) => Ok(Self::Sqlite(Box::new(Sqlite::open(path, wanted)?))),
            At::Postgres(_) | At::MariaDb(_) => Ok(Self::Server(Box::new(Box::pin(Server::open(location, wanted)).await?))),
        }
    }

    /// The tables and columns that were found.
    pub fn layout(&self) -> &Layout {
        match self {
            Self::Sqlite(sqlite) => sqlite.layout(),
            Self::Server(server) => server.layout(),
        }
    }

    /// How many rows there are.
    pub fn totals(&self) -> Totals {
        match self {
            Self::Sqlite(sqlite) => sqlite.totals(),
            Self::Server(server) => server.totals(),
        }
    }

    /// Whether tables that are read have no snapshot: their engine knows no transactions.
    pub fn is_torn(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Server(server) => server.is_torn(),
        }
    }

    /// Blacklisted tokens none of which has a recorded successor, in a source too old to record any (before SimpleJWT 5.5).
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn unrecorded_rotations(&mut self) -> Result<u64, SourceError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.unrecorded_rotations(),
            Self::Server(server) => server.unrecorded_rotations().await,
        }
    }

    /// Whether a key signed the newest outstanding tokens.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn signatures(&mut self, key: &[u8], algorithm: &str) -> Result<Signatures, SourceError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.signatures(key, algorithm),
            Self::Server(server) => server.signatures(key, algorithm).await,
        }
    }

    /// Reads all rows: a file on a thread of its own, a server in a task of its own.
    ///
    /// # Errors
    /// Where no thread can be had.
    pub fn stream(self, rows: Rows) -> Result<Batches, SourceError> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let sink = Sink(sender);
        match self {
            Self::Sqlite(sqlite) => {
                let read = move || {
                    let end = sqlite.read(rows, &sink);
                    // Whoever took the rows may be gone; then nobody wants to hear how it ended.
                    if let Some(last) = Interrupted::last(end) {
                        let _ = sink.0.blocking_send(last);
                    }
                };
                thread::Builder::new().name("source-reader".into()).spawn(read).map_err(|_| SourceError::Stopped)?;
            }
            Self::Server(server) => {
                tokio::spawn(async move {
                    let end = server.read(rows, &sink).await;
                    if let Some(last) = Interrupted::last(end) {
                        let _ = sink.0.send(last).await;
                    }
                });
            }
        }
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

impl Interrupted {
    /// What is said last, where anybody listens.
    fn last(end: Result<(), Self>) -> Option<Result<Option<Batch>, SourceError>> {
        match end {
            Ok(()) => Some(Ok(None)),
            Err(Self::Unreadable(error)) => Some(Err(error)),
            Err(Self::NobodyListens) => None,
        }
    }
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

    async fn send(&self, batch: Batch) -> Result<(), Interrupted> {
        self.0.send(Ok(Some(batch))).await.map_err(|_| Interrupted::NobodyListens)
    }
}
