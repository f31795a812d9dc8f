//! Who guesses names learns nothing by the clock either: a thousand failures of each kind, and what lies between them (C3).

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use carelink_platform::random::Random;
use carelink_tests::{
    Carelink, PASSWORD, Person, Start, eventually, figure,
    fleet::Times,
    predecessor::{AUTH_USER, Known},
    size,
};
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep};

/// Guesses under way at once: few enough that hashing threads do not decide what is measured.
const AT_ONCE: usize = 2;
/// Accounts of each kind, so many that none is closed to guesses meanwhile (C5): that guard is not what is measured.
fn each() -> usize {
    size(2, 60)
}

/// Names and passwords that open nothing, by why not.
async fn kinds(ward: &Carelink) -> BTreeMap<&'static str, Vec<(String, String)>> {
    let mut kinds: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for at in 0..each() {
        let name = |kind: &str| format!("{kind}{at}");
        kinds.entry("nobody's name").or_default().push((name("nobody"), PASSWORD.into()));
        ward.add_user(&name("wrong"), PASSWORD, &[]).await;
        kinds.entry("a wrong password").or_default().push((name("wrong"), "a short day with one doctor".into()));
        ward.add_user(&name("left"), PASSWORD, &[]).await;
        ward.cli(&["user", "disable", &name("left"), "--reason", "left"]).await.ok();
        kinds.entry("disabled, the right password").or_default().push((name("left"), PASSWORD.into()));
        ward.cli(&["user", "add", &name("unusable"), "--no-password"]).await.ok();
        kinds.entry("without a password").or_default().push((name("unusable"), PASSWORD.into()));
    }
    ward.import(AUTH_USER).await;
    let imported = AUTH_USER.people().into_iter().filter(|known: &Known| known.active && known.hasher == "pbkdf2_sha256").take(each());
    kinds.insert("imported, a wrong password", imported.map(|known| (known.username.clone(), known.almost())).collect());
    kinds
}

#[tokio::test]
async fn c3_failures_of_every_kind_take_the_same_time() {
    let ward = Start::unconfigured().unlimited().set("password.queue", "8s").up().await;
    let (kinds, random, samples) = (kinds(&ward).await, Random::seeded(3), size(4, 1_000));
    let mut guesses: Vec<_> = (0..samples)
        .flat_map(|at| kinds.iter().map(move |(kind, people)| (*kind, people[at % people.len()].clone())))
        .map(|guess| (random.bytes::<8>(), guess))
        .collect();
    guesses.sort_by_key(|(order, _)| *order);
    let times: Mutex<BTreeMap<&str, Vec<_>>> = Mutex::default();
    stream::iter(guesses)
        .for_each_concurrent(AT_ONCE, async |(_, (kind, (name, password)))| {
            let took = eventually("there is room to try", async || {
                let began = Instant::now();
                let refused = Person::sign_in(&ward, &name, &password).await.unwrap_err();
                if [429, 503].contains(&refused.status) {
                    sleep(Duration::from_secs(refused.header("retry-after").parse().unwrap_or(1))).await;
                    return None;
                }
                assert_eq!(refused.status, 401, "{kind}, {name}: {}", refused.text());
                Some(began.elapsed())
            });
            let took = took.await;
            times.lock().unwrap().entry(kind).or_default().push(took);
        })
        .await;
    let medians: Vec<f64> = times
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|(kind, times)| {
            let times = Times::of(times);
            figure(&format!("{samples} failed sign-ins, {kind}: {}", times.text()));
            times.per_mille(500)
        })
        .collect();
    let (least, most) = medians.iter().fold((f64::MAX, 0.0_f64), |(least, most), median| (least.min(*median), most.max(*median)));
    let apart = (most - least) / least * 100.0;
    figure(&format!("medians of {} kinds of failed sign-ins lie within {apart:.1} %", medians.len()));
    // A few samples among other tests say something of the machine alone.
    assert!(!crate::long() || apart <= 5.0, "the clock tells them apart: {apart:.1} %");
}
