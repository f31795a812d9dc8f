//! Leases (A5), on either engine.

use std::time::Duration;

use carelink_database::{StoreError, lease::Lease};
use carelink_platform::random::Random;
use carelink_servers::{Engine, on_both_engines};
use futures::future::join_all;

use crate::bench::{Bench, insert};

const LONG: Duration = Duration::from_secs(16);

on_both_engines!(
    a5_a_lease_is_held_by_one_and_passes_on_when_it_runs_out,
    a5_a_lease_that_lies_absurdly_far_ahead_can_be_taken,
    a5_of_many_that_ask_at_once_one_gets_it,
    a5_who_gives_a_lease_up_is_followed_at_once,
    a5_a_holder_that_was_paused_and_wakes_cannot_write,
);

fn pair() -> (Lease, Lease) {
    (Lease::new("work", &Random::seeded(1)), Lease::new("work", &Random::seeded(2)))
}

async fn a5_a_lease_is_held_by_one_and_passes_on_when_it_runs_out(engine: Engine) {
    let bench = Bench::on(engine).await;
    let (one, two) = pair();
    let first = one.acquire(&bench.db).await.unwrap().unwrap();
    assert_eq!(two.acquire(&bench.again().await).await.unwrap(), None);
    assert_eq!(one.acquire(&bench.db).await.unwrap(), Some(first), "renewing keeps the epoch");
    bench.pass(LONG);
    assert!(two.acquire(&bench.db).await.unwrap().is_some());
    assert_eq!(one.acquire(&bench.db).await.unwrap(), None);
}

async fn a5_a_lease_that_lies_absurdly_far_ahead_can_be_taken(engine: Engine) {
    let bench = Bench::on(engine).await;
    let (one, two) = pair();
    one.acquire(&bench.db).await.unwrap().unwrap();
    match bench.place.database() {
        Some(database) => drop(database.sql("UPDATE carelink_token.lease SET until = until + interval '1 year'")),
        None => bench.hand().set(carelink_platform::clock::Timestamp::from_secs(1_000)), // the clock was far ahead and is right again
    }
    assert!(two.acquire(&bench.db).await.unwrap().is_some());
}

async fn a5_of_many_that_ask_at_once_one_gets_it(engine: Engine) {
    let bench = Bench::on(engine).await;
    for round in 0..10 {
        bench.pass(LONG);
        let asked = (0..20).map(|n| {
            let (db, lease) = (bench.db.clone(), Lease::new("work", &Random::seeded(round * 100 + n)));
            tokio::spawn(async move { lease.acquire(&db).await.unwrap() })
        });
        assert_eq!(join_all(asked).await.into_iter().filter(|got| got.as_ref().unwrap().is_some()).count(), 1);
    }
}

async fn a5_who_gives_a_lease_up_is_followed_at_once(engine: Engine) {
    let bench = Bench::on(engine).await;
    let (one, two) = pair();
    let first = one.acquire(&bench.db).await.unwrap().unwrap();
    two.release(&bench.db).await.unwrap();
    assert_eq!(two.acquire(&bench.db).await.unwrap(), None, "nobody gives up what another has");
    one.release(&bench.db).await.unwrap();
    let second = two.acquire(&bench.db).await.unwrap().unwrap();
    assert_ne!(first, second);
}

async fn a5_a_holder_that_was_paused_and_wakes_cannot_write(engine: Engine) {
    let bench = Bench::on(engine).await;
    let (one, two) = pair();
    let first = one.acquire(&bench.db).await.unwrap().unwrap();
    bench.pass(LONG); // asleep
    let (db, rival) = (bench.again().await, two.clone());
    let second = db
        .transaction("pulse", move |tx| {
            Box::pin(async move {
                let epoch = rival.acquire_in(tx).await?;
                insert(tx, "by the second", 2).await.map(|()| epoch)
            })
        })
        .await
        .unwrap()
        .unwrap();
    let write = |lease: Lease, epoch, name: &'static str| {
        bench.db.transaction("write", move |tx| {
            Box::pin(async move {
                if lease.holds(tx, epoch).await? {
                    insert(tx, name, 1).await?;
                    return Ok::<_, StoreError>(true);
                }
                Ok(false)
            })
        })
    };
    assert!(!write(one.clone(), first, "late").await.unwrap(), "a holder that slept cannot write any more");
    assert!(write(two, second, "in time").await.unwrap());
    assert_eq!(one.acquire(&bench.db).await.unwrap(), None);
    assert_eq!(bench.count().await, 2);
}
