//! Restarts under load, of every service and every server, and a PostgreSQL that stands still (T4, T5).

use std::time::Duration;

use carelink_tests::{
    eventually, figure,
    fleet::{Fleet, Load, Plan, Replica, Said, Service},
    size,
};
use tokio::time::{Instant, sleep};

/// What a restart was like for those at work.
async fn under_load(fleet: &Fleet, load: &Load, what: &str, restart: impl Future<Output = ()>) {
    load.goes_on(20).await;
    let began = Instant::now();
    restart.await;
    load.goes_on(20).await;
    fleet.ready().await;
    load.goes_on(20).await;
    figure(&format!("{what} under load: {}", fleet.journal.trouble(began)));
}

/// Whoever is new gets its share.
async fn takes_traffic(replica: &Replica) {
    eventually(format!("{} takes traffic again", replica.name()), async || {
        (replica.metrics().await.sum("carelink_rpc_requests_total", &["/Refresh"]) > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_restart_is_survived_without_an_operator() {
    let fleet = Plan::default().up().await;
    let load = Load::of(fleet.nurses("nurse", 8).await, &fleet.journal, Duration::from_millis(20));
    for service in Service::ALL {
        let one_by_one = async {
            for replica in fleet.of(service) {
                replica.restart().await;
                if service == Service::Token {
                    takes_traffic(replica).await;
                }
            }
        };
        under_load(&fleet, &load, &format!("{} restarted, one replica after the other,", service.name()), one_by_one).await;
    }
    for service in [Service::Token, Service::Gateway] {
        let all_at_once = async {
            for replica in fleet.of(service) {
                replica.kill9().await;
            }
            for replica in fleet.of(service) {
                replica.start().await;
            }
        };
        under_load(&fleet, &load, &format!("every {} killed at once and started again", service.name()), all_at_once).await;
    }
    under_load(&fleet, &load, "Redis killed and started again", async {
        fleet.redis.kill();
        load.goes_on(20).await;
        fleet.redis.restart();
    })
    .await;
    under_load(&fleet, &load, "PostgreSQL restarted", async {
        fleet.postgres.stop().await;
        fleet.postgres.start().await;
    })
    .await;
    let (nurses, signed_out) = load.stop().await;
    assert_eq!(signed_out, Vec::<String>::new());
    let trail = fleet.whole_trail().await;
    assert_eq!((trail.against(&nurses), trail.doubled, fleet.journal.double_spends()), ((0, 0), 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}

#[tokio::test]
async fn t5_a_postgres_that_stands_still_signs_nobody_out() {
    let (grace, stall) = (size(10, 30), size(14, 40));
    let fleet = Plan::default().set("session.grace", &format!("{grace}s")).up().await;
    let mut nurses = fleet.nurses("nurse", 10).await;
    // Their answers got lost just before: when they ask again, grace has run out long ago.
    let unlucky = nurses.split_off(8);
    let load = Load::of(nurses, &fleet.journal, Duration::from_millis(20));
    load.goes_on(50).await;
    let mut lost = Vec::new();
    for nurse in &unlucky {
        let Said::Successor(pair) = nurse.present(0, &nurse.held().refresh).await else { panic!("not refreshed") };
        lost.push(pair);
    }
    fleet.postgres.stall();
    let began = Instant::now();
    sleep(Duration::from_secs(stall.try_into().unwrap())).await;
    fleet.postgres.resume();
    let resumed = Instant::now();
    for (nurse, lost) in unlucky.iter().zip(&lost) {
        let pair = nurse.stays().await;
        assert_eq!(pair.refresh, lost.refresh, "{}: the same successor", nurse.name);
    }
    load.goes_on(50).await;
    let (during, after) = (fleet.journal.trouble(began), fleet.journal.trouble(resumed));
    let (nurses, signed_out) = load.stop().await;
    let trail = fleet.whole_trail().await;
    figure(&format!(
        "PostgreSQL stalled for {stall} s under refreshes, grace {grace} s: {} signed out, {} double spends; {during}; all answered again \
         {:.1} s after it went on",
        signed_out.len(),
        fleet.journal.double_spends(),
        after.recovered.as_secs_f64()
    ));
    assert_eq!(signed_out, Vec::<String>::new());
    assert_eq!((trail.against(&nurses), trail.doubled, fleet.journal.double_spends()), ((0, 0), 0, 0));
    assert_eq!(trail.count("session.reuse_detected") + trail.count("session.state_lost"), 0);
}
