//! Both databases of the predecessor in one data directory: everybody who could sign in there can sign in here, and nobody else (L1 to
//! L5, C2, C3).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use carelink_tests::{
    Carelink, Pair, Person, Start, eventually,
    predecessor::{ACCOUNT_USER, AUTH_USER, Known, Predecessor},
};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::long;

const SOURCES: [Predecessor; 2] = [AUTH_USER, ACCOUNT_USER];
/// Sign-ins under way at once: enough for both cores while refused ones wait asleep, few enough for the queue.
const AT_ONCE: usize = 8;
/// How every hash begins afterwards, at the cost that is configured here.
const CONFIGURED: &str = "$argon2id$v=19$m=7168,t=1,p=1$";

fn start(data: &TempDir) -> Start {
    Start::default().unlimited().set("password.queue", "8s").data(data.path())
}

/// Does `what` for each, a few at once.
async fn for_each<T>(all: impl IntoIterator<Item = T>, what: impl AsyncFn(T)) {
    stream::iter(all).for_each_concurrent(AT_ONCE, |one| what(one)).await;
}

/// Tries to sign in; told to come back later, it does.
async fn knock(ward: &Carelink, name: &str, password: &str) -> u16 {
    eventually("somebody has time to hash", async || {
        let answer = ward.post("/account/token/", &json!({"username": name, "password": password})).await;
        let later = [429, 503].contains(&answer.status);
        if later {
            sleep(Duration::from_secs(answer.header("retry-after").parse().unwrap_or(1))).await;
        }
        (!later).then_some(answer.status)
    })
    .await
}

/// Those whose wrong password is tried while their hash is still the predecessor's: one of each kind, and everybody where there is
/// time. Everybody's is tried again when it is ours.
fn tried_before(people: &[Known]) -> HashSet<&str> {
    let mut kinds = HashSet::new();
    let first_of_kind = |known: &&Known| long() || kinds.insert((known.hasher.clone(), known.active));
    people.iter().filter(first_of_kind).map(|known| known.username.as_str()).collect()
}

/// Everybody tries to sign in, with the right password and with one whose last character differs; says how many were let in.
async fn everybody_signs_in(ward: &Carelink, people: &[Known], may: impl Fn(&Known) -> bool) -> usize {
    let (let_in, before) = (AtomicUsize::new(0), tried_before(people));
    for_each(people, async |known| {
        let Known { username, password, .. } = known;
        if !known.usable() {
            assert_eq!(knock(ward, username, "password").await, 401, "{username} has no password");
            return;
        }
        if before.contains(username.as_str()) {
            assert_eq!(knock(ward, username, &known.almost()).await, 401, "{username}'s last character");
        }
        let status = knock(ward, username, password).await;
        assert_eq!(status, if may(known) { 200 } else { 401 }, "{known:?}");
        let_in.fetch_add(usize::from(status == 200), Ordering::Relaxed);
    })
    .await;
    let_in.into_inner()
}

/// Nobody is let in with a password whose last character differs.
async fn nobody_guesses(ward: &Carelink, people: &[Known]) {
    for_each(people.iter().filter(|known| known.usable()), async |known| {
        assert_eq!(knock(ward, &known.username, &known.almost()).await, 401, "{known:?}");
    })
    .await;
}

/// Each hash that has opened an account is Argon2id at the configured cost, and no other is.
async fn hashes_are_rewritten(ward: &Carelink, rewritten: impl Fn(&Known) -> bool) {
    let expected: BTreeMap<_, _> =
        SOURCES.iter().flat_map(|source| source.people()).map(|known| (known.username.clone(), rewritten(&known))).collect();
    eventually("every hash that was used is rewritten", async || {
        let database = ward.database("auth");
        let mut statement = database.prepare("SELECT username, password_hash LIKE $1 FROM users WHERE source <> ''").unwrap();
        let rows = statement.query_map([format!("{CONFIGURED}%")], |row| Ok((row.get(0)?, row.get(1)?)));
        let found: BTreeMap<String, bool> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        (found == expected).then_some(())
    })
    .await;
    let listed = ward.json(&["user", "list", "--all", "--json"]).await;
    let hashers: HashMap<_, _> =
        listed["users"].as_array().unwrap().iter().map(|user| (user["username"].as_str().unwrap(), &user["hasher"])).collect();
    for (name, _) in expected.iter().filter(|(_, rewritten)| **rewritten) {
        assert_eq!(hashers[name.as_str()], "argon2id", "{name}");
    }
}

/// Of the table: users whose hash opens nothing here, by why.
fn cannot_sign_in(report: &Value) -> BTreeMap<String, u64> {
    let mut why = BTreeMap::new();
    for (_, tally) in report["users"].as_object().unwrap() {
        for (reason, count) in tally["cannot_sign_in"].as_object().into_iter().flatten() {
            *why.entry(reason.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    why
}

#[tokio::test]
async fn l1_everybody_of_both_databases_signs_in_with_the_password_they_had() {
    let data = TempDir::new().unwrap();
    let ward = start(&data).up().await;
    for source in SOURCES {
        let md5 = source.people().iter().filter(|known| known.hasher == "md5").count();
        let told = ward.cli(&["import", "django", source.database().to_str().unwrap(), "--dry-run"]).await.ok().stdout;
        assert!(told.contains(&format!("{md5} cannot sign in: password.allow_md5 is off")), "{told}");
        let report = ward.import(source).await;
        assert_eq!(cannot_sign_in(&report)["md5_not_allowed"], u64::try_from(md5).unwrap(), "{report}");
        assert_eq!(report["refused"]["first"], json!([]), "{report}");
    }
    let not_md5 = |known: &Known| known.active && known.usable() && known.hasher != "md5";
    assert_eq!(everybody_signs_in(&ward, &AUTH_USER.people(), not_md5).await, 209);
    assert_eq!(everybody_signs_in(&ward, &ACCOUNT_USER.people(), not_md5).await, 213);
    hashes_are_rewritten(&ward, not_md5).await;
    ward.terminate().await;

    // Once more with MD5 allowed: the ten who have it are let in, and everybody else as before, by the hash of ours.
    let ward = start(&data).set("password.allow_md5", "true").up().await;
    let usable = |known: &Known| known.active && known.usable();
    assert_eq!(everybody_signs_in(&ward, &AUTH_USER.people(), usable).await, 214);
    assert_eq!(everybody_signs_in(&ward, &ACCOUNT_USER.people(), usable).await, 218);
    hashes_are_rewritten(&ward, usable).await;
    for source in SOURCES {
        nobody_guesses(&ward, &source.people()).await;
    }
    let shown = ward.json(&["user", "show", "amina21", "--json"]).await;
    assert_eq!(shown["user"]["hasher"], "argon2id");
}

#[tokio::test]
async fn l1_with_md5_allowed_the_table_finds_nothing_wrong_with_it() {
    let ward = Start::default().set("password.allow_md5", "true").up().await;
    for source in SOURCES {
        let report = ward.import(source).await;
        assert_eq!(cannot_sign_in(&report).get("md5_not_allowed"), None, "{report}");
    }
}

#[tokio::test]
async fn l1_ids_collide_and_everybody_stays_who_they_are() {
    let ward = Start::default().unlimited().up().await;
    let mut ids = HashMap::new();
    for source in SOURCES {
        ward.import(source).await;
    }
    let listed = ward.json(&["user", "list", "--all", "--json"]).await;
    for user in listed["users"].as_array().unwrap() {
        let (name, id) = (user["username"].as_str().unwrap().to_owned(), user["user_id"].as_i64().unwrap());
        assert_eq!(ids.insert(id, name.clone()), None, "one number, one user: {name}");
        let first = user["source"] == "auth-user";
        assert_eq!(id <= 240, first, "{name} ({id}): whoever came first keeps the predecessor's number");
    }
    for source in SOURCES {
        for token in source.tokens().into_iter().filter(|token| token.state == "live").take(3) {
            let pair = Pair { access: String::new(), refresh: token.refresh };
            let person = Person::holding(&ward, &token.user, pair);
            person.stays().await;
            let me = person.me().await.expect(200).json();
            assert_eq!(me["username"], token.user.as_str());
            assert_eq!(ids[&me["id"].as_i64().unwrap()], token.user);
        }
    }
}

#[tokio::test]
async fn l3_every_outstanding_token_behaves_as_its_state_says() {
    let ward = Start::default().unlimited().up().await;
    let mut states = BTreeMap::new();
    for source in SOURCES {
        ward.import(source).await;
    }
    for token in SOURCES.iter().flat_map(|source| source.tokens()) {
        *states.entry(token.state.clone()).or_insert(0) += 1;
        let old = Person::holding(&ward, &token.user, Pair { access: String::new(), refresh: token.refresh });
        let answer = old.refresh().await;
        let refused = |answer: carelink_tests::Answer| (answer.status, answer.json());
        let not_valid = |words: &str| (401, json!({"detail": words, "code": "token_not_valid"}));
        match (token.state.as_str(), answer) {
            ("live", Ok(ours)) => {
                assert_eq!(ours.generation(), 1);
                let next = old.stays().await;
                assert_eq!((next.session(), next.generation()), (ours.session(), 2));
                old.is_in().await;
            }
            ("blacklisted", Err(answer)) => assert_eq!(refused(answer), not_valid("Token is blacklisted")),
            ("expired", Err(answer)) => assert_eq!(refused(answer), not_valid("Token is expired")),
            ("inactive-user", Err(answer)) => {
                assert_eq!(refused(answer), (401, json!({"detail": "No active account found for the given token."})));
            }
            (state, answer) => panic!("a token that was {state}: {answer:?}"),
        }
    }
    assert_eq!(states.values().sum::<i32>(), 120);
    assert_eq!(states.keys().collect::<Vec<_>>(), ["blacklisted", "expired", "inactive-user", "live"]);
}
