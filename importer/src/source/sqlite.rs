//! The SQLite reader: opens the file read-only, describes its schema, reads its rows in one transaction.
//!
//! The transaction begins in [`Sqlite::open`] and ends with the reader: what is counted, the users and their tokens are
//! of one moment. A predecessor that writes meanwhile waits for it, unless its database is in WAL mode.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Statement, types::ValueRef};

use super::{
    Gathering, Interrupted, Rows, Sink, Totals,
    layout::{self, Column, Layout, Table, Tokens, Wanted},
    row::{Cell, LONGEST, TokenCells, UserCells},
    signatures::Signatures,
    texts::{self, Dialect, TOKEN_KINDS, USER_KINDS},
};
use crate::error::SourceError;

/// What a SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where the header says that the database is in WAL mode.
const WAL_AT: usize = 18;
/// How long to wait for whoever writes to the source.
const BUSY: Duration = Duration::from_secs(3);

/// A SQLite database of the predecessor, in its read transaction.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    file: SourceFile,
    tables: Vec<Table>,
    layout: Layout,
    totals: Totals,
}

impl Sqlite {
    pub(super) fn open(path: &Path, wanted: &Wanted) -> Result<Self, SourceError> {
        let file = SourceFile::probe(path)?;
        let explain = |error| file.explain(error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(explain)?;
        connection.busy_timeout(BUSY).map_err(explain)?;
        connection.execute_batch("BEGIN").map_err(explain)?;
        let tables = describe(&connection).map_err(explain)?;
        let layout = layout::find(&tables, wanted)?;
        let count = |table: &str| connection.query_row(&texts::count(Dialect::Sqlite, table), [], counted);
        let totals = Totals {
            users: count(&layout.table).map_err(explain)?,
            tokens: layout.tokens.as_ref().map_or(Ok(0), |tokens| count(&tokens.outstanding)).map_err(explain)?,
        };
        Ok(Self { connection, file, tables, layout, totals })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn unrecorded_rotations(&self) -> Result<u64, SourceError> {
        let Some((outstanding, blacklisted)) = layout::rotations(&self.tables, &self.layout) else { return Ok(0) };
        let sql = texts::unrecorded_rotations(Dialect::Sqlite, outstanding, blacklisted);
        self.connection.query_row(&sql, [], counted).map_err(|error| self.file.explain(error))
    }

    pub(super) fn signatures(&self, key: &[u8], algorithm: &str) -> Result<Signatures, SourceError> {
        let mut seen = Signatures::default();
        let Some(tokens) = layout::kept_tokens(&self.layout) else { return Ok(seen) };
        let sql = texts::select_newest(Dialect::Sqlite, tokens);
        let mut look = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(&sql)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                if let Cell::Text(token) = cell(row, 0)? {
                    seen.look_at(&token, key, algorithm);
                }
            }
            Ok(())
        };
        look().map_err(|error| self.file.explain(error))?;
        Ok(seen)
    }

    pub(super) fn read(self, rows: Rows, sink: &Sink) -> Result<(), Interrupted> {
        if rows == Rows::UsersAndTokens {
            layout::check_holders(&self.tables, &self.layout)?;
        }
        self.read_users(sink)?;
        match (rows, &self.layout.tokens) {
            (Rows::UsersAndTokens, Some(tokens)) => self.read_tokens(tokens, sink),
            _ => Ok(()),
        }
    }

    fn read_users(&self, sink: &Sink) -> Result<(), Interrupted> {
        let explain = |error| self.file.explain(error);
        let mut users = self.connection.prepare(&texts::select_users(Dialect::Sqlite, &self.layout, None)).map_err(explain)?;
        let groups = self.layout.groups.as_ref().map(|groups| self.connection.prepare(&texts::select_groups_of_one(groups))).transpose();
        let mut groups = groups.map_err(explain)?;
        let mut rows = users.query([]).map_err(explain)?;
        let mut gathering = Gathering::new();
        while let Some(row) = rows.next().map_err(explain)? {
            let user = user_cells(row, groups.as_mut()).map_err(explain)?.read();
            gathering.user(user).map_or(Ok(()), |batch| sink.put(batch))?;
        }
        gathering.rest().map_or(Ok(()), |batch| sink.put(batch))
    }

    fn read_tokens(&self, tokens: &Tokens, sink: &Sink) -> Result<(), Interrupted> {
        let explain = |error| self.file.explain(error);
        let mut statement = self.connection.prepare(&texts::select_tokens(Dialect::Sqlite, tokens, None)).map_err(explain)?;
        let mut rows = statement.query([]).map_err(explain)?;
        let mut gathering = Gathering::new();
        while let Some(row) = rows.next().map_err(explain)? {
            let token = token_cells(row).map_err(explain)?.read();
            gathering.token(token).map_or(Ok(()), |batch| sink.put(batch))?;
        }
        gathering.rest().map_or(Ok(()), |batch| sink.put(batch))
    }
}

/// What the file says about itself before SQLite opens it, to tell afterwards why SQLite could not.
#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    wal: bool,
}

impl SourceFile {
    fn probe(path: &Path) -> Result<Self, SourceError> {
        let unopened = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => SourceError::NoSuchFile(path.into()),
            _ => SourceError::File { path: path.into(), source },
        };
        let mut file = File::open(path).map_err(unopened)?;
        if !file.metadata().map_err(unopened)?.is_file() {
            return Err(SourceError::NotAFile(path.into()));
        }
        let mut header = Vec::with_capacity(100);
        file.by_ref().take(100).read_to_end(&mut header).map_err(unopened)?;
        if header.is_empty() {
            return Err(SourceError::Empty(path.into()));
        }
        if !header.starts_with(MAGIC) {
            return Err(SourceError::NotSqlite(path.into()));
        }
        Ok(Self { path: path.into(), wal: header.get(WAL_AT) == Some(&2) })
    }

    /// A failure of SQLite as a sentence about this file.
    fn explain(&self, source: rusqlite::Error) -> SourceError {
        let path = self.path.clone();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => SourceError::NotSqlite(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SourceError::Locked(path),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure) if self.wal => SourceError::Wal(path),
            Some(ErrorCode::ReadOnly) => SourceError::HalfWritten(path),
            Some(ErrorCode::DatabaseCorrupt) => SourceError::Damaged { path, source },
            _ => SourceError::Read { path, source },
        }
    }
}

fn describe(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")?;
    let mut columns = connection.prepare("SELECT name, lower(type), pk > 0 FROM pragma_table_info(?1)")?;
    let mut unique = connection.prepare(include_str!("unique_columns.sql"))?;
    let mut references = connection.prepare("SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?1)")?;
    let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let unique = unique.query_map([&name], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let column = |row: &Row<'_>| {
            let column: String = row.get(0)?;
            Ok(Column { unique: unique.contains(&column), name: column, kind: row.get(1)?, primary: row.get(2)? })
        };
        let columns = columns.query_map([&name], column)?.collect::<rusqlite::Result<_>>()?;
        let references = references.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        tables.push(Table { name, columns, references });
    }
    Ok(tables)
}

fn user_cells(row: &Row<'_>, groups: Option<&mut Statement<'_>>) -> rusqlite::Result<UserCells> {
    let id = cell(row, 0)?;
    let groups = match (groups, &id) {
        (Some(statement), Cell::Integer(id)) => statement.query_map([id], |row| cell(row, 0))?.collect::<rusqlite::Result<_>>()?,
        _ => Vec::new(),
    };
    let mut cells = Vec::with_capacity(USER_KINDS.len());
    cells.push(id);
    for at in 1..USER_KINDS.len() {
        cells.push(cell(row, at)?);
    }
    Ok(UserCells::of(cells, groups))
}

fn token_cells(row: &Row<'_>) -> rusqlite::Result<TokenCells> {
    Ok(TokenCells::of((0..TOKEN_KINDS.len()).map(|at| cell(row, at)).collect::<rusqlite::Result<_>>()?))
}

fn cell(row: &Row<'_>, at: usize) -> rusqlite::Result<Cell> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Text(bytes) if bytes.len() > LONGEST => Cell::TooLong,
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or(Cell::Other, |text| Cell::Text(text.to_owned())),
        ValueRef::Real(_) | ValueRef::Blob(_) => Cell::Other,
    })
}

fn counted(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}
