#![allow(clippy::unwrap_used, missing_docs)] // a test
//! `deploy/postgres/roles.sql` with every service's migrations: what each role may not do is refused by PostgreSQL itself.

use carelink_database::{DatabaseConfig, Migration, Postgres, migrate};
use carelink_platform::{random::Random, secrets::SecretString};
use carelink_servers::{TestDatabase, postgres};

const SERVICES: [(&str, &[Migration]); 3] =
    [("auth", auth_service::store::MIGRATIONS), ("token", token_service::store::MIGRATIONS), ("audit", audit_service::store::MIGRATIONS)];

async fn migrated() -> TestDatabase {
    let database = postgres().await.database().await;
    for (service, migrations) in SERVICES {
        let url = SecretString::from(database.url(&format!("carelink_{service}_owner")));
        migrate::postgres(&Postgres { url, config: DatabaseConfig::default() }, service, migrations, &Random::system()).await.unwrap();
    }
    database
}

fn tables(database: &TestDatabase, service: &str) -> Vec<String> {
    let listed = database.sql(&format!("SELECT tablename FROM pg_tables WHERE schemaname = 'carelink_{service}' ORDER BY 1"));
    listed.lines().map(str::to_owned).collect()
}

fn refused(database: &TestDatabase, role: &str, sql: &str) {
    let answer = database.sql_as(role, sql);
    let denied = answer.as_ref().is_err_and(|error| error.contains("permission denied") || error.contains("must be"));
    assert!(denied, "{role} may do this: {sql}: {answer:?}");
}

#[tokio::test]
async fn each_runtime_role_is_refused_what_its_service_does_not_do() {
    let database = migrated().await;
    for (service, _) in SERVICES {
        let (role, tables) = (format!("carelink_{service}"), tables(&database, service));
        assert!(tables.len() > 4, "{tables:?}");
        for sql in [
            "CREATE TABLE mine (n int)",
            "CREATE TABLE public.mine (n int)",
            "CREATE TEMPORARY TABLE mine (n int)",
            "CREATE SCHEMA mine",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE OR REPLACE FUNCTION later(timestamptz, bigint) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1'",
            "ALTER TABLE outbox ADD COLUMN mine int",
            "CREATE INDEX ON outbox (body)",
            "DROP TABLE lease",
            "UPDATE outbox SET body = ''",
            "DELETE FROM lease",
            "INSERT INTO migration VALUES ('9999_mine', '', now())",
            "DELETE FROM migration",
            "CREATE ROLE mine",
            "CREATE DATABASE mine",
            "ALTER SYSTEM SET fsync = off",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
        ] {
            refused(&database, &role, sql);
        }
        for table in &tables {
            refused(&database, &role, &format!("TRUNCATE {table}"));
            refused(&database, &role, &format!("ALTER TABLE {table} DISABLE TRIGGER ALL"));
        }
        refused(&database, &role, &format!("SET ROLE {role}_owner"));
        assert_eq!(database.sql_as(&role, "SELECT count(*) >= 0 FROM outbox"), Ok("t".into()));
    }
}

#[tokio::test]
async fn nobody_reaches_the_schema_of_another_service() {
    let database = migrated().await;
    for (service, _) in SERVICES {
        for (other, _) in SERVICES.into_iter().filter(|(other, _)| *other != service) {
            for role in [format!("carelink_{service}"), format!("carelink_{service}_owner")] {
                for table in tables(&database, other) {
                    refused(&database, &role, &format!("SELECT * FROM carelink_{other}.{table}"));
                }
                refused(&database, &role, &format!("CREATE TABLE carelink_{other}.mine (n int)"));
            }
        }
    }
    let stranger = format!("stranger_{}", database.name());
    database.sql(&format!("CREATE ROLE {stranger} LOGIN"));
    refused(&database, &stranger, "SELECT 1");
    database.sql(&format!("DROP ROLE {stranger}"));
}

#[tokio::test]
async fn a4_the_role_that_the_trail_is_written_by_can_neither_change_nor_delete_an_event() {
    let database = migrated().await;
    for sql in [
        "UPDATE events SET body = ''",
        "UPDATE events SET position = position + 1",
        "DELETE FROM events",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events ON CONFLICT (position) DO UPDATE SET body = excluded.body",
        "MERGE INTO events USING events AS other ON events.position = other.position WHEN MATCHED THEN DELETE",
        "SELECT * FROM events FOR UPDATE",
        "DROP TRIGGER events_do_not_change ON events",
        "DELETE FROM zones",
        "DELETE FROM trail_head",
        "UPDATE sealing_keys SET seen_at = now()",
    ] {
        refused(&database, "carelink_audit", sql);
    }
    let owner = "SET session_replication_role = replica; DELETE FROM events";
    assert!(database.sql_as("carelink_audit_owner", owner).is_err(), "not even the owner gets past the triggers without dropping them");
}

#[tokio::test]
async fn t4_what_limits_a_runtime_role_is_set_with_the_role() {
    let database = migrated().await;
    for (service, _) in SERVICES {
        for (name, value) in [
            ("search_path", &*format!("carelink_{service}")),
            ("statement_timeout", "4s"),
            ("lock_timeout", "3s"),
            ("idle_in_transaction_session_timeout", "5s"),
            ("client_connection_check_interval", "1s"),
            ("plan_cache_mode", "force_generic_plan"),
            ("TimeZone", "UTC"),
        ] {
            assert_eq!(database.sql_as(&format!("carelink_{service}"), &format!("SHOW {name}")), Ok(value.to_owned()), "{service} {name}");
        }
    }
}

#[tokio::test]
async fn the_roles_can_be_made_again_over_what_is_there() {
    let database = migrated().await;
    database.sql(include_str!("../../../deploy/postgres/roles.sql"));
    assert_eq!(database.sql_as("carelink_token", "SELECT count(*) >= 0 FROM session"), Ok("t".into()));
}
