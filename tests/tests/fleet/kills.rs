//! Processes and PostgreSQL die in the middle of everything, again and again (S3, T4, A1, A4, R2).

use std::time::Duration;

use carelink_tests::{
    figure,
    fleet::{Load, Plan, Service},
    size,
};

#[tokio::test]
async fn r2_nobody_is_signed_out_and_no_event_is_lost_though_everything_is_killed() {
    let fleet = Plan::default().up().await;
    let nurses = fleet.nurses("nurse", 16).await;
    fleet.supervise();
    let (kills, between) = (size(14, 200), size(20, 50));
    let load = Load::of(nurses, &fleet.journal, Duration::from_millis(20));
    let victims = [Service::Gateway, Service::Token, Service::Audit];
    for kill in 0..kills {
        load.goes_on(between).await;
        if kill % 7 == 6 {
            fleet.postgres.kill().await;
            fleet.postgres.start().await;
        } else {
            fleet.replica(victims[kill % 7 % 3], kill / 7 % 2).crash();
        }
    }
    load.goes_on(between).await;
    let (nurses, signed_out) = load.stop().await;
    fleet.ready().await;
    let trail = fleet.whole_trail().await;
    let (lost, invented) = trail.against(&nurses);
    let (good, _, nothing) = fleet.journal.counts();
    figure(&format!(
        "{} refreshes by {} retrying clients over {kills} kills of gateways, token-services, audit-services and PostgreSQL: {} signed out, \
         {} double spends, {lost} events lost, {} doubled; {good} answers, {nothing} tries not answered",
        fleet.journal.exchanged(),
        nurses.len(),
        signed_out.len(),
        fleet.journal.double_spends(),
        invented + trail.doubled,
    ));
    assert!(signed_out.is_empty(), "signed out: {signed_out:?}");
    assert_eq!((fleet.journal.double_spends(), lost, invented, trail.doubled), (0, 0, 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}
