//! How PostgreSQL is asked: one transaction, REPEATABLE READ and READ ONLY, in which every value comes as text.

use futures::{StreamExt, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row, ValueRef,
    postgres::{PgConnectOptions, PgRow},
};

use super::super::row::Cell;

pub(super) const COLUMNS: &str = include_str!("columns.postgres.sql");
pub(super) const REFERENCES: &str = include_str!("references.postgres.sql");

/// Connects and begins. What is idle between two batches must not be ended by the server meanwhile.
pub(super) async fn begin(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
        SET LOCAL idle_in_transaction_session_timeout = 0;
        SET LOCAL statement_timeout = 0;
        SET LOCAL datestyle = 'ISO';
        SET LOCAL timezone = 'UTC';";
    sqlx::raw_sql(begin).execute(&mut connection).await?;
    Ok(connection)
}

/// The rows of a statement, as they arrive.
pub(super) fn rows(connection: &mut PgConnection, sql: String) -> BoxStream<'_, Result<Vec<Cell>, sqlx::Error>> {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection).map(|row| cells(&row?)).boxed()
}

fn cells(row: &PgRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |at| {
        let value = row.try_get_raw(at)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        Ok(value.as_bytes().map_or(Cell::Other, Cell::of_text))
    };
    (0..row.len()).map(cell).collect()
}
