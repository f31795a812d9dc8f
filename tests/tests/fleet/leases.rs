//! Whoever holds a lease stands still, loses it, and wakes up again (A1, A5).

use std::time::Duration;

use carelink_tests::{
    figure,
    fleet::{Fleet, Load, Plan, Service, Times},
    size,
};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

/// Until all that waits now has been delivered.
async fn delivered(fleet: &Fleet) -> Duration {
    let began = Instant::now();
    let newest = fleet.database.sql("SELECT coalesce(max(id), 0) FROM carelink_token.outbox");
    while fleet.database.sql(&format!("SELECT count(*) FROM carelink_token.outbox WHERE id <= {newest}")) != "0" {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody has taken the lease over");
        sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a5_whoever_stands_still_loses_its_leases_and_does_no_harm_when_it_wakes() {
    let fleet = Plan::default().up().await;
    let load = Load::of(fleet.nurses("nurse", 8).await, &fleet.journal, Duration::from_millis(20));
    let mut times = Vec::new();
    for round in 0..size(2, 20) {
        load.goes_on(50).await;
        let replica = fleet.replica(Service::Token, round % 2);
        replica.signal(Signal::STOP);
        load.goes_on(50).await;
        times.push(delivered(&fleet).await);
        replica.signal(Signal::CONT);
        load.goes_on(50).await;
    }
    let (nurses, signed_out) = load.stop().await;
    fleet.ready().await;
    let trail = fleet.whole_trail().await;
    figure(&format!(
        "a token-service stands still (SIGSTOP) under load, {} times: its events are delivered by the other one, {}; {} signed out, {:?} lost \
         and invented, {} doubled",
        times.len(),
        Times::of(times.iter().copied()).text(),
        signed_out.len(),
        trail.against(&nurses),
        trail.doubled
    ));
    assert_eq!(signed_out, Vec::<String>::new());
    assert_eq!((trail.against(&nurses), trail.doubled, fleet.journal.double_spends()), ((0, 0), 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}
