//! Copying whole schemas: what a backup is read with and a restore is written with. The same rows on both engines.
//!
//! A [`Picture`] is one schema at one moment, read-only, table by table, those first that others refer to. A [`Target`] takes rows in
//! one transaction. Between the engines a row is what SQLite stores: integers (times in microseconds, truth as 0 and 1), text and
//! bytes (ids as 16); PostgreSQL's side converts by the types of its columns. [`format`] is the file that rows are kept in.

mod ask;
pub mod format;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

pub use ask::{Found, ask, indexes};

use std::collections::BTreeMap;

use carelink_platform::{
    clock::{Clock, Timestamp},
    location::Location,
};
use tokio::sync::mpsc;

use crate::{Migration, Row, Statement, StoreError, Value};

/// Tables that belong to a running process, or to the schema itself, and go into no copy.
const LEFT_OUT: [&str; 2] = ["lease", "migration"];
/// Rows that travel together.
const CHUNK: usize = 256;
/// Chunks that may wait for whoever takes them.
const AHEAD: usize = 4;

/// A table as it can be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order in which rows have them.
    pub columns: Vec<String>,
}

/// Some rows of one table.
#[derive(Debug)]
pub struct Chunk {
    /// Which of [`Picture::tables`].
    pub table: usize,
    /// As the engine has them.
    pub rows: Vec<Vec<Value>>,
}

/// The migrations that made a schema, by name; none where there is nothing yet.
///
/// # Errors
/// Where it cannot be looked at.
pub async fn applied(at: &Location, schema: &'static str) -> Result<Vec<String>, StoreError> {
    match at {
        Location::File(path) => sqlite::migrations(path.clone(), Clock::system()).await,
        Location::Postgres(at) => postgres::migrations(at, schema).await,
    }
}

/// Who uses a schema of PostgreSQL, in words; a file is held by its directory's lock.
///
/// # Errors
/// Where it cannot be looked at.
pub async fn in_use(at: &Location, schema: &'static str) -> Result<Vec<String>, StoreError> {
    match at {
        Location::File(_) => Ok(Vec::new()),
        Location::Postgres(at) => postgres::in_use(at, schema).await,
    }
}

/// What is copied of a schema, besides what never is.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Whose it is: `auth`, `token`, `audit`.
    pub schema: &'static str,
    /// Tables to leave out.
    pub without: &'static [&'static str],
}

impl Scope {
    fn has(&self, table: &str) -> bool {
        !LEFT_OUT.contains(&table) && !self.without.contains(&table)
    }
}

/// One schema as it was at one moment.
#[derive(Debug)]
pub struct Picture {
    about: About,
    chunks: mpsc::Receiver<Result<Chunk, StoreError>>,
}

/// What is known of a picture before its rows are read.
#[derive(Clone, Debug)]
struct About {
    tables: Vec<Table>,
    migrations: Vec<String>,
    taken: Timestamp,
    rows: u64,
}

impl Picture {
    /// Takes a picture. Whoever writes meanwhile is not held up.
    ///
    /// # Errors
    /// Where there is no such database, or it cannot be read.
    pub async fn take(at: &Location, scope: Scope, clock: &Clock) -> Result<Self, StoreError> {
        let (about, chunks) = match at {
            Location::File(path) => sqlite::picture(path.clone(), scope, clock.clone()).await?,
            Location::Postgres(at) => postgres::picture(at, scope).await?,
        };
        Ok(Self { about, chunks })
    }

    /// Its tables; those come first that others refer to.
    pub fn tables(&self) -> &[Table] {
        &self.about.tables
    }

    /// The migrations that made the schema, by name.
    pub fn migrations(&self) -> &[String] {
        &self.about.migrations
    }

    /// When it was taken, by the database's clock.
    pub fn taken(&self) -> Timestamp {
        self.about.taken
    }

    /// How many rows there are, about.
    pub fn rows(&self) -> u64 {
        self.about.rows
    }

    /// The next rows, table after table; none when all have been read.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn next(&mut self) -> Result<Option<Chunk>, StoreError> {
        self.chunks.recv().await.transpose()
    }
}

/// A schema that is being filled, in one transaction.
#[derive(Debug)]
pub struct Target {
    scope: Scope,
    engine: Engine,
    tables: Vec<Table>,
}

#[derive(Debug)]
enum Engine {
    Sqlite(sqlite::Filling),
    Postgres(Box<postgres::Filling>),
}

impl Target {
    /// Begins to fill a schema. A SQLite file is made for it; on PostgreSQL the schema has to be there, up to date.
    ///
    /// # Errors
    /// Where it cannot be written, or is not made by just these migrations.
    pub async fn begin(at: &Location, scope: Scope, migrations: &'static [Migration], clock: &Clock) -> Result<Self, StoreError> {
        let (engine, tables) = match at {
            Location::File(path) => {
                let (filling, tables) = sqlite::Filling::begin(path.clone(), scope, migrations, clock.clone()).await?;
                (Engine::Sqlite(filling), tables)
            }
            Location::Postgres(at) => {
                let seeded = sqlite::seeded(scope.schema, migrations, clock.clone()).await?;
                let (filling, tables) = postgres::Filling::begin(at, scope, migrations, seeded).await?;
                (Engine::Postgres(Box::new(filling)), tables)
            }
        };
        Ok(Self { scope, engine, tables })
    }

    /// Whose it is.
    pub fn schema(&self) -> &'static str {
        self.scope.schema
    }

    /// The tables that can be filled.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The tables that hold something that no migration put there.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn occupied(&mut self) -> Result<Vec<String>, StoreError> {
        match &mut self.engine {
            Engine::Sqlite(_) => Ok(Vec::new()), // made a moment ago
            Engine::Postgres(filling) => filling.occupied().await,
        }
    }

    /// Empties a table of what its migration put there, before it is filled.
    ///
    /// # Errors
    /// Where there is no such table, and those of the engine.
    pub async fn empty(&mut self, table: &str) -> Result<(), StoreError> {
        let table = self.known(table)?;
        match &mut self.engine {
            Engine::Sqlite(filling) => filling.empty(table).await,
            Engine::Postgres(filling) => filling.empty(&table).await,
        }
    }

    /// Adds rows to a table.
    ///
    /// # Errors
    /// Where the table or a column is not there, a value does not fit, and those of the engine.
    pub async fn put(&mut self, table: &Table, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let known = self.known(&table.name)?;
        if let Some(column) = table.columns.iter().find(|column| !known.columns.contains(column)) {
            return Err(StoreError::Engine(format!("{}.{column}: there is no such column", table.name)));
        }
        match &mut self.engine {
            Engine::Sqlite(filling) => filling.put(table.clone(), rows).await,
            Engine::Postgres(filling) => filling.put(table, &rows).await,
        }
    }

    /// Runs a statement among what was filled in.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn run(&mut self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match &mut self.engine {
            Engine::Sqlite(filling) => filling.run(statement, args).await,
            Engine::Postgres(filling) => filling.run(statement, &args).await,
        }
    }

    /// Checks what refers to what, and makes it last.
    ///
    /// # Errors
    /// Where a row refers to one that is not there, and those of the engine.
    pub async fn finish(self) -> Result<(), StoreError> {
        match self.engine {
            Engine::Sqlite(filling) => filling.finish().await,
            Engine::Postgres(filling) => filling.finish().await,
        }
    }

    fn known(&self, table: &str) -> Result<Table, StoreError> {
        let found = self.tables.iter().find(|known| known.name == table);
        found.cloned().ok_or_else(|| StoreError::Engine(format!("{}.{table}: there is no such table", self.scope.schema)))
    }
}

/// The order in which tables can be filled: whatever one refers to comes before it. `refers` has each table's references.
fn ordered(tables: BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut left = tables;
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |refers: &Vec<String>, name: &String| refers.iter().any(|other| other != name && left.contains_key(other));
        let free: Vec<String> = left.iter().filter(|(name, refers)| !waits(refers, name)).map(|(name, _)| name.clone()).collect();
        let next = if free.is_empty() { left.keys().cloned().collect() } else { free }; // a circle: any order is as good
        left.retain(|name, _| !next.contains(name));
        ordered.extend(next);
    }
    ordered
}

/// A name as SQL takes it, whatever it is made of.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
