//! Everything through pgbouncer in transaction mode, as Debian has it.

use std::time::Duration;

use carelink_tests::{
    PASSWORD, figure,
    fleet::{Load, Nurse, Plan},
    size,
};
use futures::future::join_all;

#[tokio::test]
async fn s4_a_day_through_a_transaction_pooler_is_like_any_other() {
    let fleet = Plan::default().pooled().up().await;
    let nurses = fleet.nurses("nurse", 8).await;
    for nurse in &nurses {
        let token = nurse.held().refresh;
        join_all((0..8).map(|at| nurse.present(at % 2, &token))).await;
        nurse.stays().await;
    }
    let load = Load::of(nurses, &fleet.journal, Duration::ZERO);
    load.goes_on(size(300, 10_000)).await;
    fleet.cli(&["user", "disable", "nurse0", "--reason", "left the house"], "").await.ok();
    fleet.cli(&["user", "enable", "nurse0", "--reason", "came back"], "").await.ok();
    Nurse::sign_in(&fleet.doors, &fleet.journal, "nurse0", PASSWORD).await.stays().await;
    load.goes_on(50).await;
    let (nurses, signed_out) = load.stop().await;
    assert_eq!(signed_out.len(), 1, "{signed_out:?}");
    let staying: Vec<_> = nurses.into_iter().filter(|nurse| nurse.name != "nurse0").collect();
    let trail = fleet.whole_trail().await;
    figure(&format!(
        "{} refreshes through pgbouncer in transaction mode: {} double spends; {}",
        fleet.journal.exchanged(),
        fleet.journal.double_spends(),
        fleet.journal.times().text()
    ));
    assert_eq!((trail.against(&staying), trail.doubled, fleet.journal.double_spends()), ((0, 0), 0, 0));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}
