//! What can stop an import, each as the one sentence that its operator reads.

use std::path::PathBuf;

use crate::run::Step;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Another kind of database.
    #[error("{kind} cannot be imported from; a SQLite file, postgres:// and mysql:// can")]
    UnknownKind {
        /// As its address begins.
        kind: String,
    },
    /// It is no address. What it is may hold a password and is not repeated.
    #[error("the source's address cannot be read; it looks like {expected}, with special characters in it percent-encoded")]
    Address {
        /// As it should be.
        expected: &'static str,
    },
    /// The address ends too early.
    #[error("the source's address names no database; it looks like {expected}")]
    NoDatabaseName {
        /// As it should be.
        expected: &'static str,
    },
    /// Nobody answers.
    #[error("{server} cannot be reached ({why}); does it run, and is this where?")]
    Unreachable {
        /// Which.
        server: String,
        /// What the operating system says.
        why: String,
    },
    /// The connection cannot be made safe as asked.
    #[error("the connection to {server} cannot be encrypted as its address asks ({why})")]
    NoTls {
        /// Which.
        server: String,
        /// What went wrong.
        why: String,
    },
    /// Who answers is something else.
    #[error("{server} does not answer as such a server does; are port and kind of database (postgres://, mysql://) right?")]
    OtherProtocol {
        /// Which.
        server: String,
    },
    /// Wrong user or password.
    #[error("{server} does not let {user:?} in: {why}")]
    NotLetIn {
        /// Which.
        server: String,
        /// As whom.
        user: String,
        /// What it says.
        why: String,
    },
    /// The server has no such database.
    #[error("{server} has no database {database:?}")]
    NoSuchDatabase {
        /// Which.
        server: String,
        /// The name given.
        database: String,
    },
    /// The user may not read what has to be read.
    #[error("{user:?} may not read at {server}: {why}; GRANT SELECT on the tables of users, groups and tokens is enough")]
    NoRight {
        /// Which.
        server: String,
        /// As whom.
        user: String,
        /// What it says.
        why: String,
    },
    /// Nothing is in it, or nothing that this user may see.
    #[error(
        "the database {database:?} of {server} has no tables that this user can see; is it the predecessor's, and may the user read there?"
    )]
    NoTables {
        /// Which.
        server: String,
        /// The name given.
        database: String,
    },
    /// Any other failure of a server.
    #[error("{server} cannot be read: {why}")]
    Server {
        /// Which.
        server: String,
        /// What it says.
        why: String,
    },
    /// Nothing is there.
    #[error("there is no file {path}", path = .0.display())]
    NoSuchFile(PathBuf),
    /// It is a folder or a device.
    #[error("{path} is not a file; name the SQLite database itself", path = .0.display())]
    NotAFile(PathBuf),
    /// The operating system refuses it.
    #[error("{path} cannot be opened: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no content.
    #[error("{path} is empty, so it is not the predecessor's database", path = .0.display())]
    Empty(PathBuf),
    /// It begins otherwise than a SQLite database.
    #[error("{path} is not a SQLite database (or it is an encrypted one)", path = .0.display())]
    NotSqlite(PathBuf),
    /// Its newest transactions lie in files beside it that cannot be read.
    #[error(
        "{path} is in WAL mode and {path}-wal or {path}-shm beside it cannot be used; copy all three files into a folder of your own, or let the predecessor stop first",
        path = .0.display()
    )]
    Wal(PathBuf),
    /// Whoever wrote to it was stopped half-way, and what would undo that may not be done by a reader.
    #[error("{path} was left in the middle of a write; `sqlite3 {path} 'PRAGMA user_version'` as its owner puts that right", path = .0.display())]
    HalfWritten(PathBuf),
    /// Somebody else holds a lock on it.
    #[error("{path} is locked by another process that is writing to it; try again", path = .0.display())]
    Locked(PathBuf),
    /// SQLite finds it damaged.
    #[error("{path} is damaged ({source}); `sqlite3 {path} 'PRAGMA integrity_check'` says where", path = .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Any other failure to read.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Nothing looks like Django's users.
    #[error("no table of users found; name it with --users-table (tables seen: {})", list(.tables))]
    NoUsersTable {
        /// What there is.
        tables: Vec<String>,
    },
    /// More than one table looks like Django's users.
    #[error("{} all look like tables of users; say which with --users-table", list(.tables))]
    SeveralUsersTables {
        /// Which.
        tables: Vec<String>,
    },
    /// The table that was named does not exist.
    #[error("--users-table {table}: there is no such table (tables seen: {})", list(.tables))]
    NoSuchTable {
        /// The name given.
        table: String,
        /// What there is.
        tables: Vec<String>,
    },
    /// The column that was named does not exist.
    #[error("{option} {column}: {table} has no such column (it has {})", list(.columns))]
    NoSuchColumn {
        /// The option that names it.
        option: &'static str,
        /// The name given.
        column: String,
        /// Where it was looked for.
        table: String,
        /// What there is.
        columns: Vec<String>,
    },
    /// Nothing looks like the name that people sign in with.
    #[error("{table} has no column that looks like a user name; name it with --username-column (it has {})", list(.columns))]
    NoUsername {
        /// Where it was looked for.
        table: String,
        /// What there is.
        columns: Vec<String>,
    },
    /// A column without which nothing can be imported.
    #[error("{table} has no column {column}, so it is not what Django writes (it has {})", list(.columns))]
    MissingColumn {
        /// Where it was looked for.
        table: String,
        /// Which.
        column: &'static str,
        /// What there is.
        columns: Vec<String>,
    },
    /// User ids are not numbers.
    #[error("{table} has no integer primary key ({found}); only users whose ids are numbers can be imported")]
    KeyNotANumber {
        /// Which table.
        table: String,
        /// What its key is.
        found: String,
    },
    /// The tokens refer to another table than the one that was named.
    #[error(
        "the refresh tokens in the source belong to the users of {owner}, not of {table}; import {owner}, or leave out --secret-key-file"
    )]
    TokensElsewhere {
        /// The table named.
        table: String,
        /// The table that the tokens refer to.
        owner: String,
    },
    /// The reading thread ended without saying why.
    #[error("reading the source stopped before its end")]
    Stopped,
}

/// Why an import failed. What was imported by then stays, and the next run goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The name of the source cannot be used.
    #[error("{0:?} cannot be a source's name; give one of 1 to 64 letters, digits, `.`, `_` or `-` with --source")]
    SourceName(String),
    /// Another key signed the tokens: their holders would all be signed out.
    #[error(
        "this key signed none of the newest {others} outstanding refresh tokens{}; give the SECRET_KEY of this very database \
         (or the SIGNING_KEY of its SIMPLE_JWT), or leave out --secret-key-file to import users only",
        .algorithm.as_ref().map(|algorithm| format!(" (they say {algorithm}: try --algorithm {algorithm})")).unwrap_or_default()
    )]
    WrongKey {
        /// How many were looked at.
        others: u64,
        /// How they say they were signed, where it is not as the options say.
        algorithm: Option<String>,
    },
    /// A service refused or could not be reached.
    #[error("the import stopped after {done} {step}: {}; run the same command again, it goes on from there", .status.message())]
    Call {
        /// What was being imported.
        step: Step,
        /// How many rows were done.
        done: u64,
        /// What the service said.
        status: Box<tonic::Status>,
    },
    /// A service answered for another number of rows than it was sent.
    #[error("the import stopped after {done} {step}: the service answered for {answered} rows where {sent} were sent")]
    Miscounted {
        /// What was being imported.
        step: Step,
        /// How many rows were done.
        done: u64,
        /// Rows in the request.
        sent: usize,
        /// Outcomes in the answer.
        answered: usize,
    },
}

/// At most twelve names, in a sentence.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => text.push_str("none"),
        n if n > SHOWN => text.push_str(&format!(" and {} more", n - SHOWN)),
        _ => {}
    }
    text
}
