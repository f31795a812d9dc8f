//! Imports that are interrupted, on either side, and go on (L1, L5).

use std::time::Duration;

use carelink_tests::{
    Carelink, Person, Start,
    cli::command,
    eventually,
    predecessor::{AUTH_USER, PASSWORD, Source, legacy, refresh_claims},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::long;

/// A source with so many users, of whom every tenth holds a token.
fn source(folder: &TempDir, users: i64) -> (Source, Vec<String>) {
    let source = Source::create(folder.path());
    source.change("BEGIN");
    let mut tokens = Vec::new();
    for id in 1..=users {
        source.add(id, &format!("nurse{id}"), true);
        if id % 10 == 0 {
            tokens.push(legacy(&refresh_claims(&format!("{id:032x}"), id.to_string().into())));
            source.outstanding(id, tokens.last().unwrap());
        }
    }
    source.change("COMMIT");
    (source, tokens)
}

fn users(report: &Value, what: &str) -> u64 {
    report["users"].as_object().unwrap().values().map(|tally| tally[what].as_u64().unwrap()).sum()
}

async fn some_are_imported(ward: &Carelink, at_least: i64) {
    eventually("some users are imported", async || (ward.count_rows("auth", "legacy_user") >= at_least).then_some(())).await;
}

#[tokio::test]
async fn l5_an_import_that_was_killed_goes_on_and_so_does_one_whose_carelink_was() {
    const USERS: i64 = 6_000;
    let folder = TempDir::new().unwrap();
    let (source, tokens) = source(&folder, USERS);
    let ward = Start::default().unlimited().up().await;
    let (database, key) = (source.database(), source.secret_key_file());
    let import = || {
        let mut import = command();
        import.args(["import", "django"]).arg(&database).arg("--secret-key-file").arg(&key).arg("--data").arg(ward.data());
        import.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        import.spawn().unwrap()
    };

    let mut killed = import();
    some_are_imported(&ward, 1).await;
    killed.kill().await.unwrap();
    let before = ward.count_rows("auth", "legacy_user");
    assert!(before < USERS, "the import was over before it was killed");

    let mut cut_off = import();
    some_are_imported(&ward, before + 1).await;
    ward.kill9().await;
    assert_eq!(cut_off.wait().await.unwrap().code(), Some(1), "whose services are gone has failed");
    ward.start().await;

    let report = source.import_into(&ward).await;
    assert_eq!(users(&report, "imported") + users(&report, "unchanged"), u64::try_from(USERS).unwrap(), "{report}");
    assert_eq!(ward.count_rows("auth", "legacy_user"), USERS);
    let again = source.import_into(&ward).await;
    assert_eq!(users(&again, "unchanged"), u64::try_from(USERS).unwrap(), "{again}");
    for (at, token) in tokens.iter().enumerate().step_by(100) {
        let pair = carelink_tests::Pair { access: String::new(), refresh: token.clone() };
        Person::holding(&ward, &format!("token {at}"), pair).stays().await;
    }
    ward.sign_in("nurse5999", PASSWORD).await.is_in().await;
    let imported = ward.whole_trail(&["--type", "user.imported"]).await;
    assert_eq!(imported.len(), usize::try_from(USERS).unwrap(), "one event for each user, whatever was interrupted");
}

#[tokio::test]
async fn l5_what_changed_in_the_source_since_comes_along_and_nothing_that_changed_here_goes() {
    let folder = TempDir::new().unwrap();
    let source = Source::create(folder.path());
    for (id, name) in [(1, "alice"), (2, "bo"), (3, "chloe")] {
        source.add(id, name, true);
    }
    let tokens: Vec<_> = (1..=3).map(|id: i64| legacy(&refresh_claims(&format!("{id:032x}"), id.to_string().into()))).collect();
    for (id, token) in (1..).zip(&tokens) {
        source.outstanding(id, token);
    }
    let ward = Carelink::up().await;
    source.import_into(&ward).await;
    let hold = |at: usize| Person::holding(&ward, "somebody", carelink_tests::Pair { access: String::new(), refresh: tokens[at].clone() });
    let (alice, bo, chloe) = (hold(0), hold(1), hold(2));
    alice.stays().await;
    source.change(
        "UPDATE auth_user SET is_active = 0 WHERE id = 2; UPDATE auth_user SET first_name = 'Chloé' WHERE id = 3;
         INSERT INTO token_blacklist_blacklistedtoken SELECT NULL, '2026-01-01 00:00:00', id FROM token_blacklist_outstandingtoken",
    );
    source.import_into(&ward).await;
    alice.stays().await; // moved on here: blacklisted there only because it was rotated here
    assert_eq!(bo.refresh().await.unwrap_err().json(), json!({"detail": "No active account found for the given token."}));
    assert_eq!(chloe.refresh().await.unwrap_err().json()["detail"], "Token is blacklisted");
    let shown = ward.json(&["user", "show", "chloe", "--json"]).await;
    assert_eq!(shown["user"]["full_name"], "Chloé");
}

#[tokio::test]
async fn l1_thousands_of_users_a_second_in_bounded_memory() {
    let count = if long() { 100_000 } else { 10_000 };
    let folder = TempDir::new().unwrap();
    let (source, _) = source(&folder, count);
    let ward = Start::default().unlimited().up().await;
    let memory = || ward.memory("VmHWM");
    let (before, began) = (memory(), Instant::now());
    let report = source.import_into(&ward).await;
    let took = began.elapsed();
    assert_eq!(users(&report, "imported"), u64::try_from(count).unwrap());
    println!("{count} users in {took:?}, at most {} MiB, {before} MiB before", memory());
    assert!(took < Duration::from_secs(120), "{took:?} for {count} users");
    assert!(memory() < before + 100, "{} MiB where it had {before} MiB", memory());
}

#[tokio::test]
async fn l5_two_imports_at_once_do_what_one_does() {
    let ward = Start::default().unlimited().up().await;
    let (one, other) = tokio::join!(ward.import(AUTH_USER), ward.import(AUTH_USER));
    for report in [&one, &other] {
        assert_eq!(users(report, "imported") + users(report, "unchanged"), 240, "{report}");
    }
    assert_eq!(users(&one, "imported") + users(&other, "imported"), 240, "{one} {other}");
    assert_eq!(ward.count_rows("auth", "legacy_user"), 240);
    assert_eq!(ward.whole_trail(&["--type", "user.imported"]).await.len(), 240);
    let known = AUTH_USER.person("amina21");
    ward.sign_in("amina21", &known.password).await.is_in().await;
}
