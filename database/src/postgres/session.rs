//! One connection while an operation has it: runs the parts of statements, counts round trips.

use std::sync::Arc;

use sqlx::{Arguments as _, Column as _, Row as _, postgres::PgArguments};

use super::{
    pool::Pooled,
    value::{Bound, read},
};
use crate::{Row, Statement, StoreError, Value, statement::Part};

/// Whether statements stay prepared on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    /// Prepared once, run in one round trip.
    Kept,
    /// A pooler stands between: prepared each time, within the transaction.
    Each,
}

/// What a statement runs over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'a> {
    /// One value for each argument.
    Values(&'a [Value]),
    /// Many rows of them: each argument is an array.
    Rows(&'a [Vec<Value>]),
}

impl<'a> Given<'a> {
    fn argument(self, at: usize) -> Option<Bound<'a>> {
        match self {
            Self::Values(values) => values.get(at).map(Bound::One),
            Self::Rows(rows) => rows.first().is_some_and(|row| at < row.len()).then_some(Bound::Column(rows, at)),
        }
    }
}

/// A connection in the hands of one operation.
#[derive(Debug)]
pub(crate) struct Session {
    pooled: Pooled,
    trips: metrics::Counter,
    prepared: Prepared,
}

impl Session {
    pub(super) fn new(pooled: Pooled, trips: metrics::Counter, prepared: Prepared) -> Self {
        Self { pooled, trips, prepared }
    }

    /// Whether the connection died, and may have done so before this operation had it.
    pub(super) fn was_dead(&self) -> bool {
        self.pooled.reused && self.pooled.is_lost()
    }

    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        self.pooled.set_in_transaction(true);
        self.control("BEGIN").await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        self.control("COMMIT").await?;
        self.pooled.set_in_transaction(false);
        Ok(())
    }

    pub(crate) async fn roll_back(&mut self) -> Result<(), StoreError> {
        self.control("ROLLBACK").await?;
        self.pooled.set_in_transaction(false);
        Ok(())
    }

    /// Gives the connection back; to be called outside a transaction only, when everything was answered.
    pub(crate) fn end(self) {
        self.pooled.release();
    }

    async fn control(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.trips.increment(1);
        self.pooled.execute(sql).await
    }

    /// Runs the parts of a statement in order; the rows of the last are the result.
    pub(crate) async fn run(&mut self, statement: &'static Statement, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for part in statement.postgres() {
            rows = self.part(statement, part, given).await?;
        }
        statement.count();
        Ok(rows)
    }

    async fn part(&mut self, statement: &'static Statement, part: &'static Part, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        let failed = |message: &dyn std::fmt::Display| StoreError::Engine(format!("{}: {message}", statement.name()));
        let mut arguments = PgArguments::default();
        for &at in &part.arguments {
            let value = given.argument(at).ok_or_else(|| failed(&format_args!("${} is not given", at + 1)))?;
            arguments.add(value).map_err(|error| failed(&error))?;
        }
        self.trips.increment(if self.prepared == Prepared::Kept { 1 } else { 2 });
        let kept = self.prepared == Prepared::Kept;
        let found = self.pooled.fetch(&part.sql, arguments, kept).await;
        let found = found.map_err(|error| match error {
            StoreError::Engine(message) => failed(&message),
            error => error,
        })?;
        let Some(first) = found.first() else { return Ok(Vec::new()) };
        let names = || first.columns().iter().map(|column| column.name().to_owned()).collect();
        let columns = Arc::clone(part.columns.get_or_init(names));
        let row = |row| Ok(Row::new(Arc::clone(&columns), (0..columns.len()).map(|at| read(row, at)).collect::<Result<_, _>>()?));
        found.iter().map(row).collect()
    }
}
