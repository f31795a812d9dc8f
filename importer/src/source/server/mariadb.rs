//! How MariaDB and MySQL are asked: one transaction with a consistent snapshot, READ ONLY, in which every value comes as text.

use futures::{StreamExt, stream::BoxStream};
use sqlx::{AssertSqlSafe, Connection, Row};
use sqlx_mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};

use super::super::row::Cell;

pub(super) const COLUMNS: &str = include_str!("columns.mariadb.sql");
pub(super) const REFERENCES: &str = include_str!("references.mariadb.sql");
/// Tables of engines that have no transactions, so no snapshots either.
pub(super) const TORN: &str = include_str!("torn.mariadb.sql");

/// Connects and begins. What waits between two batches must not be ended by the server meanwhile.
pub(super) async fn begin(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    for statement in [
        "SET SESSION wait_timeout = 28800, SESSION net_write_timeout = 3600",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ] {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// The rows of a statement, as they arrive.
pub(super) fn rows(connection: &mut MySqlConnection, sql: String) -> BoxStream<'_, Result<Vec<Cell>, sqlx::Error>> {
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection).map(|row| cells(&row?)).boxed()
}

fn cells(row: &MySqlRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |at| {
        let value: Option<Vec<u8>> = row.try_get_unchecked(at)?;
        Ok(value.map_or(Cell::Null, |bytes| Cell::of_text(&bytes)))
    };
    (0..row.len()).map(cell).collect()
}
