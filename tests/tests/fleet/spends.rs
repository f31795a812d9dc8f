//! One token, presented many times at once, over gateways and token-services that know nothing of each other (S3, S4).

use std::collections::HashSet;

use carelink_tests::{
    figure,
    fleet::{Plan, Said},
    size,
};
use futures::{StreamExt, future::join_all, stream};

const AT_ONCE: usize = 8;

#[tokio::test]
async fn s4_a_token_presented_at_once_all_over_a_fleet_has_one_successor() {
    let fleet = Plan::default().up().await;
    let sessions = size(40, 500);
    let tokens = size(160, 10_000);
    let nurses = fleet.nurses("nurse", sessions).await;
    let rounds = tokens / sessions;
    for _ in 0..rounds {
        let all = nurses.iter().map(async |nurse| {
            let token = nurse.held().refresh;
            let tries = join_all((0..AT_ONCE).map(|at| nurse.present(at % nurse.doors.count(), &token))).await;
            let mut successors = HashSet::new();
            for said in &tries {
                match said {
                    Said::Successor(pair) => drop(successors.insert(pair.clone())),
                    Said::Refused(answer) => panic!("{} was signed out: {}", nurse.name, answer.text()),
                    Said::Nothing(why) => println!("not answered: {why}"),
                }
            }
            assert_eq!(successors.len(), 1, "{}: one successor", nurse.name);
            nurse.hold(successors.into_iter().next().unwrap());
        });
        stream::iter(all).buffer_unordered(8).collect::<()>().await;
    }
    let (good, refused, nothing) = fleet.journal.counts();
    figure(&format!(
        "{} tokens, each refreshed {AT_ONCE} times at once over 2 gateways and 2 token-services: {} double spends, {refused} refusals, \
         {good} answers, {nothing} not answered; {}",
        fleet.journal.exchanged(),
        fleet.journal.double_spends(),
        fleet.journal.times().text()
    ));
    assert_eq!((fleet.journal.double_spends(), refused, fleet.journal.exchanged()), (0, 0, rounds * sessions));
    let trail = fleet.whole_trail().await;
    assert_eq!((trail.against(&nurses), trail.doubled), ((0, 0), 0));
    assert!(trail.disorderly().is_empty());
}
