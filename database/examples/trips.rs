//! What the engine costs beside PostgreSQL itself: the same statements by `Db::run` and by pgbench, interleaved, durable commits.
//!
//! `cargo run --release -p carelink-database --example trips [SECONDS [ROUNDS]]` starts a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing, clippy::cast_precision_loss)] // a measurement

use std::{
    collections::BTreeMap,
    env, fs,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use carelink_database::{DatabaseConfig, Db, DbOptions, Location, Migration, Postgres, Statement, args, migrate};
use carelink_platform::{clock::Clock, random::Random, secrets::SecretString};
use carelink_servers::TestDatabase;
use futures::future::join_all;
use tokio::time::Instant;

const ROWS: u64 = 200_000;
const SCHEMA: &[Migration] = &[Migration {
    name: "0001_items",
    sqlite: "",
    postgres: "CREATE TABLE item (id bigint NOT NULL PRIMARY KEY, value bigint NOT NULL, filler text NOT NULL) WITH (fillfactor = 70);
        INSERT INTO item SELECT n, 0, repeat('x', 300) FROM generate_series(1, 200000) AS n;
        GRANT SELECT, UPDATE ON item TO carelink_token",
}];

macro_rules! shapes {
    ($($name:ident: $text:literal;)*) => {
        $(static $name: Statement = Statement::shared(stringify!($name), $text);)*
        static SHAPES: &[(&Statement, &str)] = &[$((&$name, $text),)*];
    };
}

shapes! {
    SELECT: "SELECT value FROM item WHERE id = $1;";
    UPDATE: "UPDATE item SET value = value + 1 WHERE id = $1 RETURNING value;";
    REFRESH: "WITH locked AS MATERIALIZED (SELECT id, value FROM item WHERE id = $1 FOR NO KEY UPDATE),
        moved AS (UPDATE item SET value = locked.value + 1 FROM locked WHERE item.id = locked.id RETURNING item.id, item.value),
        event AS (INSERT INTO outbox (destination, event_id, body, created_at)
            SELECT 'audit', gen_random_uuid(), convert_to(repeat('x', 250), 'UTF8'), clock_timestamp() FROM moved)
        SELECT id, value, clock_timestamp() AS now FROM moved;";
}

static SEED: AtomicU64 = AtomicU64::new(1);

#[tokio::main(worker_threads = 2)]
async fn main() {
    let number = |at: usize, usual: u64| env::args().nth(at).map_or(usual, |text| text.parse().unwrap());
    let (seconds, rounds) = (number(1, 2), number(2, 5));
    let database = carelink_servers::Postgres::start_own().await.database().await;
    let config = DatabaseConfig { max_connections: 64, ..DatabaseConfig::default() };
    let at = |role: &str| Postgres { url: SecretString::from(database.url(role)), config: config.clone() };
    migrate::postgres(&at("carelink_token_owner"), "token", SCHEMA, &Random::system()).await.unwrap();
    database.sql("VACUUM ANALYZE");
    let options = DbOptions { at: Location::Postgres(at("carelink_token")), schema: "token", migrations: SCHEMA, clock: Clock::system() };
    let db = Db::open(options).await.unwrap();
    let mut rates: BTreeMap<(usize, usize), [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..rounds {
        for (shape, &(statement, text)) in SHAPES.iter().enumerate() {
            for callers in [1, 16] {
                let found = rates.entry((shape, callers)).or_default();
                found[0].push(ours(&db, statement, callers, Duration::from_secs(seconds)).await);
                found[1].push(pgbench(&database, text, callers, seconds));
                database.sql("TRUNCATE carelink_token.outbox");
            }
        }
    }
    println!("medians of {rounds} rounds of {seconds} s, interleaved; calls a second");
    for ((shape, callers), [mut ours, mut bare]) in rates {
        let median = |rates: &mut Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        };
        let (ours, bare) = (median(&mut ours), median(&mut bare));
        println!("{:8} {callers:2} callers: {ours:8.0} by Db::run, {bare:8.0} by pgbench, {:.2}", SHAPES[shape].0.name(), ours / bare);
    }
}

async fn ours(db: &Db, statement: &'static Statement, callers: usize, time: Duration) -> f64 {
    let began = Instant::now();
    let calls = (0..callers).map(|_| {
        let (db, mut seed) = (db.clone(), SEED.fetch_add(7_919, Ordering::Relaxed));
        tokio::spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < time {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                db.run(statement, args![(seed >> 33) % ROWS + 1]).await.unwrap();
                done += 1;
            }
            done
        })
    });
    let done: u64 = join_all(calls).await.into_iter().map(Result::unwrap).sum();
    done as f64 / began.elapsed().as_secs_f64()
}

fn pgbench(database: &TestDatabase, text: &str, callers: usize, seconds: u64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, format!("\\set id random(1, {ROWS})\n{}\n", text.replace("$1", ":id"))).unwrap();
    let mut pgbench = Command::new("/usr/lib/postgresql/15/bin/pgbench");
    pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &callers.to_string(), "-T", &seconds.to_string(), "-f"]).arg(&script);
    let said = pgbench.arg(database.url("carelink_token")).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench says its rate");
    rate.split(' ').next().unwrap().parse().unwrap()
}
