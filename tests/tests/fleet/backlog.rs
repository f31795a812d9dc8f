//! The trail is away, and comes back (A1, A4, A6).

use std::time::Duration;

use carelink_tests::{
    PASSWORD, figure,
    fleet::{Load, Nurse, Plan, Service},
    size,
};
use tokio::time::Instant;

#[tokio::test]
async fn a6_with_the_trail_away_everything_goes_on_and_its_backlog_drains_in_order() {
    let fleet = Plan::default().up().await;
    let nurses = fleet.nurses("nurse", 8).await;
    let load = Load::of(nurses, &fleet.journal, Duration::from_millis(5));
    load.goes_on(50).await;
    let (before, _, _) = fleet.journal.counts();
    for replica in fleet.of(Service::Audit) {
        replica.kill9().await;
    }
    let mut signed_in = Vec::new();
    for at in 0..size(40, 1_000) {
        signed_in.push(Nurse::sign_in(&fleet.doors, &fleet.journal, &format!("nurse{}", at % 8), PASSWORD).await);
    }
    load.goes_on(size(200, 5_000)).await;
    let waiting = fleet.on_their_way();
    assert!(waiting >= 200, "{waiting} events wait");
    let (away, refused, nothing) = fleet.journal.counts();
    fleet.journal.clear();
    let began = Instant::now();
    for replica in fleet.of(Service::Audit) {
        replica.start().await;
    }
    while fleet.on_their_way() > 100 {
        assert!(began.elapsed() < Duration::from_secs(600), "{} events still wait", fleet.on_their_way());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (drained, meanwhile) = (began.elapsed(), fleet.journal.times());
    let (nurses, signed_out) = load.stop().await;
    let trail = fleet.whole_trail().await;
    let (lost, invented) = trail.against(&nurses);
    let (more_lost, more_invented) = trail.against(&signed_in);
    figure(&format!(
        "audit-service away under load: {} sign-ins and {} refreshes meanwhile, {} failed, {} signed out; {waiting} events waited and were \
         there {:.1} s after it was back; {} lost, {} doubled, {} sessions out of order; refreshes while it drained: {}",
        signed_in.len(),
        away - before,
        refused + nothing,
        signed_out.len(),
        drained.as_secs_f64(),
        lost + more_lost,
        invented + more_invented + trail.doubled,
        trail.disorderly().len(),
        meanwhile.text()
    ));
    assert_eq!((refused, nothing, signed_out), (0, 0, Vec::new()));
    assert_eq!((lost + more_lost, invented + more_invented, trail.doubled), (0, 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
    assert_eq!(trail.count("session.started"), signed_in.len() + nurses.len());
}
