//! The embedded engine: one connection that writes, a few that read, WAL and synchronous=FULL (R2).

mod moment;
mod readers;
mod writer;

use std::{io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    functions::FunctionFlags,
    types::{ToSqlOutput, ValueRef},
};

pub(crate) use self::{
    moment::Moment,
    readers::Readers,
    writer::{Settle, Writer},
};
use crate::{Row, Statement, StoreError, Value, statement::Part};

/// Opens or makes a database file for writing.
pub(crate) fn open(path: &Path, moment: &Moment) -> Result<Connection, StoreError> {
    make_private(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, moment)?;
    // It answers the mode it really took: on some file systems not the one asked for.
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(|error| from_rusqlite(&error))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!(
            "{}: this file system cannot hold a write-ahead log (journal mode {mode})",
            path.display()
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(|error| from_rusqlite(&error))?;
    connection.pragma_update(None, "wal_autocheckpoint", 1_000).map_err(|error| from_rusqlite(&error))?;
    Ok(connection)
}

/// A file belongs to one process at a time: whoever held a lease in it is gone.
pub(crate) fn release_leases(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("DELETE FROM lease", []).map(|_| ()).map_err(|error| from_rusqlite(&error))
}

/// Makes the file, if there is none, for its owner only; the log beside it takes over its mode.
pub(crate) fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(|_| ()).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(format!("{}: {error}", path.display())),
        _ => StoreError::Unavailable(format!("{}: {error}", path.display())),
    })
}

/// Opens a database file for reading.
fn open_reader(path: &Path, moment: &Moment) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, moment)?;
    connection.pragma_update(None, "query_only", true).map_err(|error| from_rusqlite(&error))?;
    Ok(connection)
}

pub(crate) fn connect(path: &Path, flags: OpenFlags, moment: &Moment) -> Result<Connection, StoreError> {
    let named = |error: &rusqlite::Error| match from_rusqlite(error) {
        StoreError::Engine(message) => StoreError::Unavailable(format!("{}: {message}", path.display())),
        error => error,
    };
    let connection = Connection::open_with_flags(path, flags).map_err(|error| named(&error))?;
    let setup = || -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_prepared_statement_cache_capacity(128);
        let moment = moment.clone();
        connection.create_scalar_function("clock_timestamp", 0, FunctionFlags::SQLITE_UTF8, move |_| Ok(moment.now().as_micros()))?;
        connection.create_scalar_function("later", 2, FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC, |context| {
            Ok(context.get::<Option<i64>>(0)?.zip(context.get::<Option<i64>>(1)?).map(|(time, micros)| time.saturating_add(micros)))
        })
    };
    setup().map_err(|error| named(&error))?;
    Ok(connection)
}

/// Runs a transaction control statement.
pub(crate) fn control(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(|_| ()).map_err(|error| from_rusqlite(&error))
}

/// Runs the parts of a statement in order; the rows of the last are the result.
pub(crate) fn run(connection: &Connection, statement: &Statement, args: &[Value]) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for part in statement.sqlite() {
        rows = run_part(connection, part, args).map_err(|error| match from_rusqlite(&error) {
            StoreError::Engine(message) => StoreError::Engine(format!("{}: {message}", statement.name())),
            error => error,
        })?;
    }
    statement.count();
    Ok(rows)
}

fn run_part(connection: &Connection, part: &Part, args: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare_cached(&part.sql)?;
    // `$3` is a named parameter here, numbered by first appearance: bind by name, whatever the order.
    let wanted = prepared.parameter_count();
    for at in 1..=wanted {
        let number = prepared.parameter_name(at).and_then(|name| name.strip_prefix('$')).and_then(|digits| digits.parse::<usize>().ok());
        let value = number.and_then(|number| args.get(number.checked_sub(1)?));
        prepared.raw_bind_parameter(at, Bound(value.ok_or(rusqlite::Error::InvalidParameterCount(args.len(), wanted))?))?;
    }
    let columns = Arc::clone(part.columns.get_or_init(|| prepared.column_names().into_iter().map(str::to_owned).collect()));
    let mut found = prepared.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns.len()).map(|at| Ok(read(row.get_ref(at)?))).collect::<rusqlite::Result<_>>()?;
        rows.push(Row::new(Arc::clone(&columns), values));
    }
    Ok(rows)
}

/// Prepares a statement without running it.
pub(crate) fn prepare(connection: &Connection, statement: &Statement) -> Result<(), StoreError> {
    for part in statement.sqlite() {
        connection.prepare(&part.sql).map_err(|error| StoreError::Engine(format!("{}: {error}", statement.name())))?;
    }
    Ok(())
}

pub(crate) struct Bound<'a>(pub(crate) &'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Bool(value) => ValueRef::Integer((*value).into()),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
            Value::Uuid(value) => ValueRef::Blob(value.as_bytes()),
            Value::Time(value) => ValueRef::Integer(value.as_micros()),
        }))
    }
}

pub(crate) fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Text(value.to_string()), // no column of ours holds one
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
    }
}

pub(crate) fn from_rusqlite(error: &rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(failure, message) = error else { return StoreError::Engine(error.to_string()) };
    let message = message.clone().unwrap_or_else(|| failure.to_string());
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly(message),
        ErrorCode::ConstraintViolation
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                || failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY =>
        {
            StoreError::Conflict { constraint: message }
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure => StoreError::Unavailable(message),
        _ => StoreError::Engine(message),
    }
}
