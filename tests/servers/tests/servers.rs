#![allow(missing_docs)] // a test
//! The servers do what tests ask of them.

use carelink_servers::{Pgbouncer, Postgres, Redis, postgres};

#[tokio::test]
async fn databases_are_ones_own_and_go_with_their_test() {
    let cluster = postgres().await;
    let (one, two) = (cluster.database().await, cluster.database().await);
    assert_eq!(
        one.sql_as("carelink_token", "SELECT current_schema, current_setting('plan_cache_mode')"),
        Ok("carelink_token|force_generic_plan".into())
    );
    one.sql("CREATE TABLE t (n int)");
    assert!(two.sql_as("postgres", "SELECT * FROM t").is_err());
    let name = two.name().to_owned();
    drop(two);
    assert_eq!(cluster.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")), "0");
}

#[tokio::test]
async fn a_cluster_of_ones_own_can_be_killed_and_started_again() {
    let cluster = Postgres::start_own().await;
    cluster.sql("postgres", "CREATE TABLE t AS SELECT 7 AS n");
    cluster.kill().await;
    cluster.start().await;
    assert_eq!(cluster.sql("postgres", "SELECT n FROM t"), "7");
    cluster.stall();
    cluster.resume();
    assert_eq!(cluster.sql("postgres", "SELECT n FROM t"), "7");
    cluster.stop().await;
    cluster.start().await;
    assert_eq!(cluster.sql("postgres", "SELECT n FROM t"), "7");
}

#[tokio::test]
async fn a_pooler_stands_in_front_of_a_cluster() {
    let cluster = postgres().await;
    let database = cluster.database().await;
    let bouncer = Pgbouncer::start(&cluster, 5).await;
    assert_eq!(database.sql_through(&bouncer, "carelink_audit", "SELECT current_schema"), Ok("carelink_audit".into()));
}

#[tokio::test]
async fn redis_comes_back_empty() {
    let redis = Redis::start().await;
    let first = redis.url();
    redis.restart();
    assert_eq!(redis.url(), first);
}
