//! The reader of servers: one connection, one read-only transaction, a page of rows at a time.
//!
//! The transaction begins in [`Server::open`] and ends with the reader: what is counted, the users and their tokens are of
//! one moment, and whoever writes meanwhile waits for nothing. A page is what lies between two primary keys: its groups are
//! asked for first, then its rows are judged as they arrive.

mod mariadb;
mod postgres;
mod trouble;

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use sqlx::{Connection as _, PgConnection};
use sqlx_mysql::MySqlConnection;

use super::{
    BATCH, Gathering, Interrupted, Rows, Sink, Totals,
    layout::{self, Column, Layout, Table, Tokens, Wanted},
    location::{At, Location},
    row::{Cell, TokenCells, UserCells},
    signatures::Signatures,
    texts::{self, Dialect, Kind, Range, TOKEN_KINDS, USER_KINDS},
};
use crate::error::SourceError;

/// How long a server may take to answer the first time.
const PATIENCE: Duration = Duration::from_secs(15);
/// Before every key there can be.
const BEFORE_ALL: i64 = i64::MIN + 1;

/// A database of the predecessor on a server, in its read transaction.
#[derive(Debug)]
pub struct Server {
    connection: Connection,
    location: Location,
    tables: Vec<Table>,
    layout: Layout,
    totals: Totals,
    torn: bool,
}

#[derive(Debug)]
enum Connection {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Connection {
    async fn begin(location: &Location) -> Result<Self, SourceError> {
        let begun = async {
            match &location.0 {
                At::Postgres(options) => postgres::begin(options).await.map(Self::Postgres),
                At::MariaDb(options) => mariadb::begin(options).await.map(Self::MariaDb),
                At::File(_) => Err(sqlx::Error::Configuration("a file is no server".into())),
            }
        };
        let begun = tokio::time::timeout(PATIENCE, Box::pin(begun)).await;
        let late = |_| SourceError::Unreachable { server: location.to_string(), why: format!("no answer within {PATIENCE:?}") };
        begun.map_err(late)?.map_err(|error| trouble::explain(location, error))
    }

    fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::MariaDb(_) => Dialect::MariaDb,
        }
    }

    fn rows(&mut self, sql: String) -> BoxStream<'_, Result<Vec<Cell>, sqlx::Error>> {
        match self {
            Self::Postgres(connection) => postgres::rows(connection, sql),
            Self::MariaDb(connection) => mariadb::rows(connection, sql),
        }
    }

    /// The first value of the first row, as a number.
    async fn number(&mut self, sql: String) -> Result<Option<i64>, sqlx::Error> {
        let rows: Vec<Vec<Cell>> = self.rows(sql).try_collect().await?;
        match rows.into_iter().flatten().next().map(|cell| cell.read_as(Kind::Number)) {
            Some(Cell::Integer(number)) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    async fn count(&mut self, sql: String) -> Result<u64, sqlx::Error> {
        Ok(self.number(sql).await?.map_or(0, i64::unsigned_abs))
    }

    async fn describe(&mut self) -> Result<Vec<Table>, sqlx::Error> {
        let (columns, references) = match self {
            Self::Postgres(_) => (postgres::COLUMNS, postgres::REFERENCES),
            Self::MariaDb(_) => (mariadb::COLUMNS, mariadb::REFERENCES),
        };
        let mut tables: Vec<Table> = Vec::new();
        let columns: Vec<Vec<Cell>> = self.rows(columns.to_owned()).try_collect().await?;
        for row in columns {
            let [Cell::Text(name), Cell::Text(column), Cell::Text(kind), primary, unique] = row.as_slice() else { continue };
            let is = |cell: &Cell| *cell == Cell::Text("1".into());
            let column = Column { name: column.clone(), kind: kind.clone(), primary: is(primary), unique: is(unique) };
            match tables.last_mut() {
                Some(table) if table.name == *name => table.columns.push(column),
                _ => tables.push(Table { name: name.clone(), columns: vec![column], references: Vec::new() }),
            }
        }
        let references: Vec<Vec<Cell>> = self.rows(references.to_owned()).try_collect().await?;
        for row in references {
            let [Cell::Text(name), Cell::Text(column), Cell::Text(to)] = row.as_slice() else { continue };
            if let Some(table) = tables.iter_mut().find(|table| table.name == *name) {
                table.references.push((column.clone(), to.clone()));
            }
        }
        Ok(tables)
    }

    /// Tables without snapshots.
    async fn torn(&mut self) -> Result<Vec<Vec<Cell>>, sqlx::Error> {
        match self {
            Self::Postgres(_) => Ok(Vec::new()),
            Self::MariaDb(_) => self.rows(mariadb::TORN.to_owned()).try_collect().await,
        }
    }

    async fn end(self) {
        // What was read is read: a server that is gone by now ends the transaction itself.
        let _ = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::MariaDb(connection) => connection.close().await,
        };
    }
}

impl Server {
    pub(super) async fn open(location: &Location, wanted: &Wanted) -> Result<Self, SourceError> {
        let explain = |error| trouble::explain(location, error);
        let mut connection = Connection::begin(location).await?;
        let tables = connection.describe().await.map_err(explain)?;
        if tables.is_empty() {
            return Err(SourceError::NoTables { server: location.to_string(), database: location.name() });
        }
        let layout = layout::find(&tables, wanted)?;
        let (dialect, torn) = (connection.dialect(), connection.torn().await.map_err(explain)?);
        let read = [Some(&layout.table), layout.tokens.as_ref().map(|tokens| &tokens.outstanding)];
        let torn = torn.iter().flatten().any(|cell| read.into_iter().flatten().any(|name| *cell == Cell::Text(name.clone())));
        let users = connection.count(texts::count(dialect, &layout.table)).await.map_err(explain)?;
        let tokens = match &layout.tokens {
            Some(tokens) => connection.count(texts::count(dialect, &tokens.outstanding)).await.map_err(explain)?,
            None => 0,
        };
        Ok(Self { connection, location: location.clone(), tables, layout, totals: Totals { users, tokens }, torn })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    pub(super) async fn unrecorded_rotations(&mut self) -> Result<u64, SourceError> {
        let Some((outstanding, blacklisted)) = layout::rotations(&self.tables, &self.layout) else { return Ok(0) };
        let sql = texts::unrecorded_rotations(self.connection.dialect(), outstanding, blacklisted);
        self.connection.count(sql).await.map_err(|error| trouble::explain(&self.location, error))
    }

    pub(super) async fn signatures(&mut self, key: &[u8], algorithm: &str) -> Result<Signatures, SourceError> {
        let mut seen = Signatures::default();
        let Some(tokens) = layout::kept_tokens(&self.layout) else { return Ok(seen) };
        let sql = texts::select_newest(self.connection.dialect(), tokens);
        let mut rows = self.connection.rows(sql);
        while let Some(row) = rows.next().await {
            for cell in row.map_err(|error| trouble::explain(&self.location, error))? {
                if let Cell::Text(token) = cell {
                    seen.look_at(&token, key, algorithm);
                }
            }
        }
        Ok(seen)
    }

    pub(super) async fn read(mut self, rows: Rows, sink: &Sink) -> Result<(), Interrupted> {
        if rows == Rows::UsersAndTokens {
            layout::check_holders(&self.tables, &self.layout)?;
        }
        self.read_users(sink).await?;
        if let (Rows::UsersAndTokens, Some(tokens)) = (rows, self.layout.tokens.clone()) {
            self.read_tokens(&tokens, sink).await?;
        }
        self.connection.end().await;
        Ok(())
    }

    async fn read_users(&mut self, sink: &Sink) -> Result<(), Interrupted> {
        let (dialect, mut after) = (self.connection.dialect(), BEFORE_ALL);
        let (table, id) = (self.layout.table.clone(), self.layout.id.clone());
        let mut gathering = Gathering::new();
        while let Some(range) = self.page(&table, &id, after).await? {
            let mut groups = self.groups(range).await?;
            let location = &self.location;
            let mut rows = self.connection.rows(texts::select_users(dialect, &self.layout, Some(range)));
            while let Some(row) = rows.next().await {
                let cells = read_as(row.map_err(|error| trouble::explain(location, error))?, &USER_KINDS);
                let of = match cells.first() {
                    Some(Cell::Integer(id)) => groups.remove(id).unwrap_or_default(),
                    _ => Vec::new(),
                };
                if let Some(batch) = gathering.user(UserCells::of(cells, of).read()) {
                    sink.send(batch).await?;
                }
            }
            after = range.1;
        }
        match gathering.rest() {
            Some(batch) => sink.send(batch).await,
            None => Ok(()),
        }
    }

    async fn read_tokens(&mut self, tokens: &Tokens, sink: &Sink) -> Result<(), Interrupted> {
        let (dialect, mut after) = (self.connection.dialect(), BEFORE_ALL);
        let mut gathering = Gathering::new();
        while let Some(range) = self.page(&tokens.outstanding, "id", after).await? {
            let location = &self.location;
            let mut rows = self.connection.rows(texts::select_tokens(dialect, tokens, Some(range)));
            while let Some(row) = rows.next().await {
                let cells = read_as(row.map_err(|error| trouble::explain(location, error))?, &TOKEN_KINDS);
                if let Some(batch) = gathering.token(TokenCells::of(cells).read()) {
                    sink.send(batch).await?;
                }
            }
            after = range.1;
        }
        match gathering.rest() {
            Some(batch) => sink.send(batch).await,
            None => Ok(()),
        }
    }

    /// The page that follows `after`; `None` after the last.
    async fn page(&mut self, table: &str, id: &str, after: i64) -> Result<Option<Range>, SourceError> {
        let sql = texts::page_end(self.connection.dialect(), table, id, after, BATCH);
        let end = self.connection.number(sql).await.map_err(|error| trouble::explain(&self.location, error))?;
        Ok(end.filter(|end| *end > after).map(|end| Range(after, end)))
    }

    /// The names of the groups of a page's users, each user's in the order of their bytes.
    async fn groups(&mut self, range: Range) -> Result<BTreeMap<i64, Vec<Cell>>, SourceError> {
        let mut of: BTreeMap<i64, Vec<Cell>> = BTreeMap::new();
        let Some(groups) = &self.layout.groups else { return Ok(of) };
        let sql = texts::select_groups(self.connection.dialect(), groups, range);
        let mut rows = self.connection.rows(sql);
        while let Some(row) = rows.next().await {
            let cells = read_as(row.map_err(|error| trouble::explain(&self.location, error))?, &[Kind::Number, Kind::Text]);
            if let [Cell::Integer(user), name] = cells.as_slice() {
                of.entry(*user).or_default().push(name.clone());
            }
        }
        for names in of.values_mut() {
            names.sort_by(|one, other| match (one, other) {
                (Cell::Text(one), Cell::Text(other)) => one.cmp(other),
                _ => std::cmp::Ordering::Equal,
            });
        }
        Ok(of)
    }
}

fn read_as(cells: Vec<Cell>, kinds: &[Kind]) -> Vec<Cell> {
    cells.into_iter().zip(kinds).map(|(cell, kind)| cell.read_as(*kind)).collect()
}
