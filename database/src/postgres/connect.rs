//! How connections are opened, and what is looked at before a schema is used.

use std::{collections::BTreeMap, time::Duration};

use carelink_platform::{location::Postgres, secrets::ExposeSecret as _};
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep};

use super::error::{may_pass, meaning};
use crate::{Migration, StoreError, migrate};

/// Statements that one connection keeps prepared: all that a service has.
const KEPT: usize = 512;
/// A transaction whose owner went silent ends.
const IDLE_IN_TRANSACTION: &str = "5s";
/// A server older than that lacks what texts use.
const OLDEST: i32 = 15;
/// How long opening waits for a server that is starting.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// The schema's name there: `carelink_token`. The runtime role is called the same.
pub(crate) fn schema_name(schema: &str) -> String {
    format!("carelink_{schema}")
}

/// For the connections of a service.
pub(super) fn options(at: &Postgres, schema: &'static str) -> Result<PgConnectOptions, StoreError> {
    let options = plain(at, schema)?;
    if at.config.pooler {
        return Ok(options); // a pooler refuses startup options: the role's settings say the same (roles.sql)
    }
    let millis = |limit: Duration| format!("{}ms", limit.as_millis());
    Ok(options.options([
        ("search_path", schema_name(schema)),
        ("statement_timeout", millis(at.config.statement_timeout)),
        ("lock_timeout", millis(at.config.statement_timeout * 3 / 4)),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_owned()),
        ("client_connection_check_interval", "1s".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
    ]))
}

/// For whoever migrates: steps may take their time, but wait for no lock for long.
pub(crate) fn migrating(at: &Postgres, schema: &'static str) -> Result<PgConnectOptions, StoreError> {
    let options = plain(at, schema)?;
    if at.config.pooler {
        return Ok(options);
    }
    Ok(options.options([("search_path", schema_name(schema)), ("lock_timeout", "10s".to_owned())]))
}

fn plain(at: &Postgres, schema: &'static str) -> Result<PgConnectOptions, StoreError> {
    let url = at.url.expose_secret();
    let scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
    // What is no URL may hold a password all the same: it is not repeated.
    let options = url.parse().ok().filter(|_| scheme).ok_or_else(|| {
        let right = "postgres://ROLE:PASSWORD@HOST:PORT/DATABASE with the password percent-encoded";
        StoreError::Engine(format!("{schema}.database_url is not a PostgreSQL URL; write {right}"))
    });
    let options: PgConnectOptions = options?;
    let options = options.extra_float_digits(None).statement_cache_capacity(KEPT);
    let name = options.get_application_name().map_or_else(|| format!("carelink-{schema}"), str::to_owned);
    Ok(sqlx::ConnectOptions::disable_statement_logging(options.application_name(&name)))
}

/// Connects, waiting a little for a server that is just starting.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match PgConnection::connect_with(options).await {
            Ok(connection) => return Ok(connection),
            Err(error) if may_pass(&error) && Instant::now() < end => sleep(AGAIN).await,
            Err(error) => {
                let at = format!("{}:{}", options.get_host(), options.get_port());
                return Err(match meaning(&error).0 {
                    StoreError::Unavailable(message) => StoreError::Unavailable(format!("{at}: {message}")),
                    StoreError::Engine(message) => StoreError::Engine(format!("{at}: {message}")),
                    error => error,
                });
            }
        }
    }
}

/// Refuses a server, a role or a schema that the service cannot work with, with a sentence.
pub(super) async fn check(options: &PgConnectOptions, schema: &'static str, migrations: &[Migration]) -> Result<(), StoreError> {
    let mut connection = connect(options).await?;
    // In one transaction: a pooler may give every statement outside of one to another server, which has not prepared it.
    let mut looking = connection.begin().await.map_err(|error| meaning(&error).0)?;
    let name = schema_name(schema);
    let text = "SELECT current_schema()::text, current_setting('server_version_num')::int / 10000,
        current_setting('statement_timeout') <> '0' AND current_setting('plan_cache_mode') = 'force_generic_plan',
        current_setting('synchronous_commit') <> 'off' AND current_setting('fsync') <> 'off'";
    let row = sqlx::query(text).persistent(false).fetch_one(&mut *looking).await.map_err(|error| meaning(&error).0)?;
    let column = |error: sqlx::Error| StoreError::Engine(error.to_string());
    let (here, version): (Option<String>, i32) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
    let (set, durable): (bool, bool) = (row.try_get(2).map_err(column)?, row.try_get(3).map_err(column)?);
    if version < OLDEST {
        return Err(StoreError::Engine(format!("this is PostgreSQL {version}; CareLink needs {OLDEST} or newer")));
    }
    if here.as_deref() != Some(name.as_str()) {
        return Err(StoreError::Engine(format!(
            "role {} finds no schema {name} in database {}: run deploy/postgres/roles.sql there, then `carelink migrate`, or use the role {name}",
            options.get_username(),
            options.get_database().unwrap_or(options.get_username()),
        )));
    }
    if !set {
        tracing::warn!(schema, "the role has no statement_timeout or plan_cache_mode; run deploy/postgres/roles.sql again");
    }
    if !durable {
        tracing::warn!(schema, "synchronous_commit or fsync is off: PostgreSQL acknowledges what a power cut would take back");
    }
    let there = applied(&mut looking).await?;
    migrate::fits(schema, migrations, &there)?;
    looking.rollback().await.map_err(|error| meaning(&error).0)?;
    connection.close().await.map_err(|error| meaning(&error).0)
}

/// The migrations that were applied, with their checksums. None where there is nothing at all, or nothing that this role may see.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = sqlx::query("SELECT name, checksum FROM migration").persistent(false).fetch_all(connection).await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P01" | "42501")) => Vec::new(),
        Err(error) => return Err(meaning(&error).0),
    };
    let column = |error: sqlx::Error| StoreError::Engine(error.to_string());
    rows.iter().map(|row| Ok((row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?))).collect()
}

/// The owner of the schema, quoted, where it is not whoever is connected: what a superuser makes is to be the owner's.
pub(crate) async fn other_owner(connection: &mut PgConnection, schema: &'static str) -> Result<Option<String>, StoreError> {
    let name = schema_name(schema);
    let text = "SELECT quote_ident(pg_get_userbyid(nspowner)), pg_get_userbyid(nspowner) = current_user
        FROM pg_namespace WHERE nspname = current_schema()";
    let row = sqlx::query(text).persistent(false).fetch_optional(connection).await.map_err(|error| meaning(&error).0)?;
    let column = |error: sqlx::Error| StoreError::Engine(error.to_string());
    let Some(row) = row else {
        return Err(StoreError::Engine(format!(
            "there is no schema {name} for this role; run deploy/postgres/roles.sql in the database first"
        )));
    };
    let (owner, is_own): (String, bool) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
    Ok((!is_own).then_some(owner))
}
