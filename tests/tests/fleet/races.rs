//! Users are disabled, get new passwords and lose roles while they sign in and refresh at every replica (U1, U2, U3).

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use carelink_tests::{
    PASSWORD, Pair, claims, eventually, figure,
    fleet::{Fleet, Journal, Nurse, Plan},
    size,
};
use futures::{
    StreamExt,
    future::{join, join_all},
    stream,
};

const OTHER_PASSWORD: &str = "a long day with eight doctors";
/// Who races at once in one round: so many sign in, so many refresh.
const TABS: usize = 2;
/// Of what was handed out, so many are looked at together.
const AT_ONCE: usize = 8;

/// Everything that was handed out in a round.
#[derive(Default)]
struct HandedOut(Mutex<Vec<Pair>>);

impl HandedOut {
    fn note(&self, pair: Pair) {
        self.0.lock().unwrap().push(pair);
    }
}

/// Signs in and refreshes at all gateways until the change is through; gives all that was handed out.
async fn race(fleet: &Fleet, name: &str, change: impl Future<Output = ()>) -> Vec<Pair> {
    let (handed_out, over, journal) = (HandedOut::default(), AtomicBool::new(false), Journal::default());
    let signing_in = join_all((0..TABS).map(async |_| {
        while !over.load(Ordering::Relaxed) {
            if let Ok(nurse) = Nurse::try_sign_in(&fleet.doors, &journal, name, PASSWORD).await {
                handed_out.note(nurse.held());
            }
        }
    }));
    let tabs = join_all((0..TABS).map(|_| Nurse::sign_in(&fleet.doors, &journal, name, PASSWORD))).await;
    let refreshing = join_all(tabs.iter().map(async |tab| {
        handed_out.note(tab.held());
        while !over.load(Ordering::Relaxed) {
            match tab.refresh().await {
                Ok(pair) => handed_out.note(pair),
                Err(_) => return,
            }
        }
    }));
    let changing = async {
        change.await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(signing_in, refreshing, changing);
    handed_out.0.into_inner().unwrap()
}

async fn command(fleet: &Fleet, args: &[&str], stdin: &str) {
    let args = [args, &["--json"]].concat();
    // Where everything is slow a command may not be answered: whoever gave it gives it again.
    let said = eventually(format!("`{}` is answered", args.join(" ")), async || {
        let said = fleet.cli(&args, stdin).await;
        (said.exit == Some(0) || !format!("{}{}", said.stdout, said.stderr).contains("try")).then_some(said)
    });
    let said = said.await.json();
    if said["revocation"] == "pending" {
        fleet.delivered().await; // token-service was slow: the outbox brings it, and only then is it through (U3)
    }
}

/// None of these is accepted anywhere, as access or as refresh token.
async fn all_are_out(fleet: &Fleet, name: &str, pairs: &[Pair]) {
    let journal = Journal::default();
    let is_out = async |pair: &Pair| {
        let nurse = Nurse::holding(&fleet.doors, &journal, name, pair.clone());
        nurse.is_out_everywhere().await;
        let refused = nurse.refresh().await.unwrap_err();
        assert_eq!(refused.status, 401, "{}", refused.text());
    };
    stream::iter(pairs).for_each_concurrent(AT_ONCE, is_out).await;
}

async fn disabled(fleet: &Fleet, name: &str) -> usize {
    let pairs = race(fleet, name, command(fleet, &["user", "disable", name, "--reason", "race"], "")).await;
    all_are_out(fleet, name, &pairs).await;
    assert!(Nurse::try_sign_in(&fleet.doors, &Journal::default(), name, PASSWORD).await.is_err());
    command(fleet, &["user", "enable", name, "--reason", "race"], "").await;
    all_are_out(fleet, name, &pairs).await;
    pairs.len()
}

async fn new_password(fleet: &Fleet, name: &str) -> usize {
    let change = ["user", "set-password", name, "--reason", "race", "--password-stdin"];
    let pairs = race(fleet, name, command(fleet, &change, OTHER_PASSWORD)).await;
    all_are_out(fleet, name, &pairs).await;
    assert!(Nurse::try_sign_in(&fleet.doors, &Journal::default(), name, PASSWORD).await.is_err());
    Nurse::sign_in(&fleet.doors, &Journal::default(), name, OTHER_PASSWORD).await.stays().await;
    command(fleet, &change, PASSWORD).await;
    pairs.len()
}

async fn role_lost(fleet: &Fleet, name: &str) -> usize {
    let pairs = race(fleet, name, command(fleet, &["user", "roles", name, "--remove", "nurse", "--reason", "race"], "")).await;
    let is_as_it_should_be = async |pair: &Pair| {
        let nurse = Nurse::holding(&fleet.doors, &Journal::default(), name, pair.clone());
        if claims(&pair.access)["roles"].as_array().unwrap().iter().any(|role| role == "nurse") {
            nurse.is_out_everywhere().await;
        } else {
            for gateway in 0..nurse.doors.count() {
                eventually("a token without the role is good", async || {
                    (nurse.verify_at(gateway).await.unwrap().status == 200).then_some(())
                })
                .await;
            }
        }
    };
    stream::iter(&pairs).for_each_concurrent(AT_ONCE, is_as_it_should_be).await;
    command(fleet, &["user", "roles", name, "--add", "nurse"], "").await;
    pairs.len()
}

#[tokio::test]
async fn u2_no_token_is_accepted_that_the_order_of_commits_forbids() {
    let fleet = Plan::default().up().await;
    let people: Vec<String> = (0..3).map(|at| format!("nurse{at}")).collect();
    fleet.add_users(&people, &["nurse", "staff"]).await;
    let rounds = size(4, 1_000);
    let kinds = ["disabled", "given a new password", "relieved of a role"];
    let handed_out: Vec<usize> = stream::iter(people.iter().enumerate())
        .map(async |(kind, name)| {
            let mut pairs = 0;
            for _ in 0..rounds {
                pairs += match kind {
                    0 => disabled(&fleet, name).await,
                    1 => new_password(&fleet, name).await,
                    _ => role_lost(&fleet, name).await,
                };
            }
            pairs
        })
        .buffered(3)
        .collect()
        .await;
    for (kind, pairs) in kinds.iter().zip(&handed_out) {
        figure(&format!(
            "{kind} while signing in and refreshing over two replicas: {rounds} times, {pairs} pairs handed out meanwhile, 0 accepted afterwards"
        ));
    }
    let ((), trail) = join(async {}, fleet.whole_trail()).await;
    assert_eq!((trail.doubled, trail.disorderly()), (0, Vec::<&str>::new()));
}
