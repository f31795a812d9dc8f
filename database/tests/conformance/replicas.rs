//! Relays of several replicas on one schema: one relays, whoever dies is followed within seconds, nothing is lost or doubled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use carelink_database::{
    Db,
    outbox::{self, Relay},
};
use carelink_platform::{lifecycle::Shutdown, random::Random};
use carelink_servers::Engine;
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{bench::Bench, outbox::fact};

/// Who delivered what, in the order of arrival.
type Arrived = Arc<Mutex<Vec<(&'static str, String)>>>;

fn relay(name: &'static str, db: Db, seed: u64, arrived: &Arrived, shutdown: &Shutdown) -> JoinHandle<()> {
    let arrived = Arc::clone(arrived);
    let relay = Relay::new(db, "there", Random::seeded(seed), move |rows| {
        let arrived = Arc::clone(&arrived);
        Box::pin(async move {
            sleep(Duration::from_millis(2)).await;
            arrived.lock().await.extend(rows.iter().map(|row| (name, String::from_utf8_lossy(&row.body).into_owned())));
            Ok(())
        })
    });
    tokio::spawn(relay.run(shutdown.clone()))
}

async fn delivered(db: &Db) -> Duration {
    let began = Instant::now();
    while outbox::backlog(db, "there").await.unwrap().0 > 0 {
        assert!(began.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_of_several_replicas_one_relays_and_who_dies_or_leaves_is_followed() {
    let bench = Bench::on(Engine::Postgres).await;
    let (one, two) = (bench.again().await, bench.again().await);
    let (arrived, random) = (Arrived::default(), Random::seeded(9));
    let (stop_one, stop_two, stop_three) = (Shutdown::new(), Shutdown::new(), Shutdown::new());
    let first = relay("first", one.clone(), 1, &arrived, &stop_one);
    let mut put = 0;
    let more = async |db: &Db, put: &mut u32| {
        for _ in 0..40 {
            outbox::put_alone(db, vec![fact(&random, &put.to_string())]).await.unwrap();
            *put += 1;
        }
    };
    more(&one, &mut put).await;
    delivered(&one).await;
    let second = relay("second", two.clone(), 2, &arrived, &stop_two);
    // What another replica commits reaches whoever relays.
    more(&two, &mut put).await;
    delivered(&two).await;
    assert!(arrived.lock().await.iter().all(|(by, _)| *by == "first"), "one relays");

    first.abort(); // as by kill -9: the lease is not given up
    let _ = first.await;
    more(&two, &mut put).await;
    let followed = delivered(&two).await;
    println!("followed {followed:?} after a death");

    let third = relay("third", one.clone(), 3, &arrived, &stop_three);
    stop_two.request();
    second.await.unwrap();
    more(&one, &mut put).await;
    println!("followed {:?} after a farewell", delivered(&one).await);
    stop_three.request();
    third.await.unwrap();

    let arrived = arrived.lock().await;
    let mut by: BTreeMap<&str, u32> = BTreeMap::new();
    arrived.iter().for_each(|(name, _)| *by.entry(name).or_default() += 1);
    assert_eq!(by, BTreeMap::from([("first", 80), ("second", 40), ("third", 40)]));
    let bodies: Vec<u32> = arrived.iter().map(|(_, body)| body.parse().unwrap()).collect();
    assert_eq!(bodies, (0..put).collect::<Vec<_>>(), "in order, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_relay_that_slept_past_its_lease_deletes_nothing() {
    let bench = Bench::on(Engine::Postgres).await;
    let random = Random::seeded(5);
    outbox::put_alone(&bench.db, vec![fact(&random, "once")]).await.unwrap();
    let (sleeps, wakes) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (told, until) = (Arc::clone(&sleeps), Arc::clone(&wakes));
    let paused = Relay::new(bench.again().await, "there", Random::seeded(1), move |_| {
        let (told, until) = (Arc::clone(&told), Arc::clone(&until));
        Box::pin(async move {
            told.notify_one();
            until.notified().await; // the process stands still
            Ok(())
        })
    });
    let paused = tokio::spawn(paused.run(Shutdown::new()));
    sleeps.notified().await;
    bench.pass(Duration::from_secs(16));
    // Somebody else has the lease, and has not delivered yet.
    let rival = carelink_database::lease::Lease::new("there", &Random::seeded(2));
    rival.acquire(&bench.db).await.unwrap().unwrap();
    wakes.notify_one();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(outbox::backlog(&bench.db, "there").await.unwrap().0, 1, "what it believed to be its own is still there");
    rival.release(&bench.db).await.unwrap();
    paused.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_a_batch_of_a_long_backlog_costs_what_a_batch_costs() {
    let bench = Bench::on(Engine::Postgres).await;
    let database = bench.place.database().unwrap();
    database.sql(
        "ALTER TABLE carelink_token.outbox SET (autovacuum_enabled = off);
         INSERT INTO carelink_token.outbox (destination, event_id, body, created_at)
         SELECT CASE WHEN n % 3 = 0 THEN 'elsewhere' ELSE 'there' END, gen_random_uuid(), 'x', clock_timestamp() FROM generate_series(1, 60000) AS n",
    );
    let take = include_str!("../../src/sql/outbox_take.postgres.sql").replace("$3", "$2");
    let plan = database.sql_as(
        "carelink_token",
        &format!("PREPARE take (text, bigint) AS {take}\nEXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) EXECUTE take('there', 0)"),
    );
    let plan = plan.unwrap();
    let read: Vec<u32> = plan.split("actual rows=").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(read.len() > 3 && read.iter().all(|&rows| rows <= 4_000), "it reads more than its window: {plan}");
}
