//! Migrating a schema of PostgreSQL, as its owner. Each step is a transaction that holds the lease's row: whoever else migrates
//! waits for it or finds it done.

use carelink_platform::{location::Postgres, random::Random};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{Migration, all, checksum, not_newer};
use crate::{
    StoreError,
    postgres::{applied, connect, meaning, migrating, other_owner},
};

const BOOTSTRAP: &str = include_str!("../postgres/bootstrap.sql");
/// Takes the lease, or waits for whoever holds its row; one that has died holds it no longer than its transaction.
fn take(holder: Uuid) -> String {
    format!(
        "INSERT INTO lease (name, holder, epoch, until) VALUES ('migrate', '{holder}', 1, clock_timestamp() + interval '1 minute')
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = lease.epoch + 1, until = excluded.until"
    )
}

/// Applies what is missing, as the owner of the schema, and returns the names of what it applied.
///
/// # Errors
/// Where the schema is newer than this program, was made by another text, or a step fails; the steps before it stay.
pub async fn postgres(
    at: &Postgres,
    schema: &'static str,
    migrations: &[Migration],
    random: &Random,
) -> Result<Vec<&'static str>, StoreError> {
    let mut connection = Box::pin(connect(&migrating(at, schema)?)).await?;
    bootstrap(&mut connection, schema).await?;
    let (mut done, holder) = (Vec::new(), random.uuid_v4());
    for migration in all(migrations) {
        if step(&mut connection, schema, migrations, migration, holder).await? {
            done.push(migration.name);
        }
    }
    let _ = connection.close().await; // all is committed
    Ok(done)
}

/// Makes what migrating itself needs. Two that do so at once may trip over each other: the second finds it made.
async fn bootstrap(connection: &mut PgConnection, schema: &'static str) -> Result<(), StoreError> {
    let mut made = make(connection, schema).await;
    if matches!(&made, Err(Making::Sql(sqlx::Error::Database(error))) if matches!(error.code().as_deref(), Some("23505" | "42P07" | "42710")))
    {
        made = make(connection, schema).await;
    }
    made.map_err(|error| match error {
        Making::Store(error) => error,
        Making::Sql(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("3F000" | "42501")) => {
            StoreError::Engine(format!(
                "{}: the {schema} schema is not this role's; run deploy/postgres/roles.sql, then migrate as carelink_{schema}_owner",
                error.message()
            ))
        }
        Making::Sql(error) => meaning(&error).0,
    })
}

enum Making {
    Sql(sqlx::Error),
    Store(StoreError),
}

async fn make(connection: &mut PgConnection, schema: &'static str) -> Result<(), Making> {
    let mut transaction = connection.begin().await.map_err(Making::Sql)?;
    as_owner(&mut transaction, schema).await?;
    transaction.execute(BOOTSTRAP).await.map_err(Making::Sql)?;
    transaction.commit().await.map_err(Making::Sql)
}

/// For the rest of the transaction. A role that is not the owner may be one that may become it, a superuser for one.
async fn as_owner(connection: &mut PgConnection, schema: &'static str) -> Result<(), Making> {
    if let Some(owner) = other_owner(connection, schema).await.map_err(Making::Store)? {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("SET LOCAL ROLE {owner}")))).await.map_err(Making::Sql)?;
    }
    Ok(())
}

/// One step, unless it was done meanwhile.
async fn step(
    connection: &mut PgConnection,
    schema: &'static str,
    migrations: &[Migration],
    migration: &Migration,
    holder: Uuid,
) -> Result<bool, StoreError> {
    let sql = |error: sqlx::Error| match meaning(&error).0 {
        StoreError::Engine(message) => StoreError::Engine(format!("{schema} migration {}: {message}", migration.name)),
        error => error,
    };
    let mut transaction = connection.begin().await.map_err(sql)?;
    as_owner(&mut transaction, schema).await.map_err(|error| match error {
        Making::Sql(error) => sql(error),
        Making::Store(error) => error,
    })?;
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(take(holder)))).await.map_err(sql)?;
    let there = applied(&mut transaction).await?;
    not_newer(schema, migrations, &there)?;
    if there.contains_key(migration.name) {
        transaction.rollback().await.map_err(sql)?;
        return Ok(false);
    }
    let done = format!(
        "INSERT INTO migration (name, checksum, applied_at) VALUES ('{}', '{}', clock_timestamp())",
        migration.name,
        checksum(migration.postgres)
    );
    transaction.execute(migration.postgres).await.map_err(sql)?;
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(done))).await.map_err(sql)?;
    transaction.commit().await.map_err(sql)?;
    tracing::info!(schema, migration = migration.name, "migrated");
    Ok(true)
}
