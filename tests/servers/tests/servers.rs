#![allow(missing_docs)] // a test
//! The servers do what tests ask of them.

use carelink_servers::{Mariadb, Nginx, Pgbouncer, Postgres, Redis, postgres};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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

#[tokio::test]
async fn mariadb_is_there_and_knows_more_than_ascii() {
    let Some(mariadb) = Mariadb::start().await else { return };
    mariadb.sql("", "CREATE DATABASE ward CHARACTER SET utf8mb4");
    mariadb.sql("ward", "CREATE TABLE t (id int, name varchar(20)); INSERT INTO t VALUES (1, '\u{c5}sa \u{1f3e5}'), (2, NULL)");
    assert_eq!(mariadb.sql("ward", "SELECT * FROM t ORDER BY id"), "1\t\u{c5}sa \u{1f3e5}\n2\tNULL");
    assert!(mariadb.url("ward").ends_with(&format!("@127.0.0.1:{}/ward", mariadb.port())));
}

#[tokio::test]
async fn nginx_serves_what_it_is_told() {
    let nginx = Nginx::start(|port, _| format!("server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}")).await;
    let mut connection = TcpStream::connect(("127.0.0.1", nginx.port())).await.unwrap();
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}
