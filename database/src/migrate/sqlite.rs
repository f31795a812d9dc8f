//! A file is brought up to date by whoever opens it.

use rusqlite::Connection;

use super::{Migration, all, checksum};
use crate::{StoreError, sqlite::from_rusqlite};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    name       TEXT    NOT NULL PRIMARY KEY,
    checksum   TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// Applies what is missing, each in a transaction of its own. Returns the names of those.
pub(crate) fn run(connection: &Connection, schema: &'static str, migrations: &[Migration]) -> Result<Vec<&'static str>, StoreError> {
    let sql = |error: rusqlite::Error| from_rusqlite(&error);
    connection.execute_batch(TABLE).map_err(sql)?;
    let mut statement = connection.prepare("SELECT name, checksum FROM migration ORDER BY name").map_err(sql)?;
    let there: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).map_err(sql)?;
    drop(statement);
    if let Some((newer, _)) = there.iter().find(|(name, _)| !all(migrations).any(|known| known.name == name)) {
        return Err(StoreError::Newer { schema, migration: newer.clone() });
    }
    let mut applied = Vec::new();
    for migration in all(migrations) {
        let checksum = checksum(migration.sqlite);
        match there.iter().find(|(name, _)| name == migration.name) {
            Some((_, found)) if *found == checksum => {}
            Some(_) => return Err(StoreError::Altered { schema, migration: migration.name.to_owned() }),
            None => {
                let step = format!(
                    "BEGIN IMMEDIATE; {}; INSERT INTO migration (name, checksum, applied_at) VALUES ('{}', '{checksum}', clock_timestamp()); COMMIT",
                    migration.sqlite, migration.name
                );
                if let Err(error) = connection.execute_batch(&step) {
                    let _ = connection.execute_batch("ROLLBACK"); // nothing to undo where BEGIN failed
                    return Err(sql(error));
                }
                applied.push(migration.name);
            }
        }
    }
    Ok(applied)
}
