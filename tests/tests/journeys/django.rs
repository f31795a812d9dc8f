//! A real Django with the real SimpleJWT: beside CareLink it accepts our access tokens, and it takes its own people back.

use std::{fs, path::PathBuf, process::Stdio};

use carelink_tests::{
    Carelink, Pair,
    cli::{self, clean},
    predecessor::{AUTH_USER, fixtures},
    typed::root,
};
use serde_json::{Value, json};
use tokio::process::Command;

/// A Python that has Django and SimpleJWT, where `tests/run` could install them.
fn python() -> Option<PathBuf> {
    let path = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("venv-django/bin/python");
    if !path.is_file() {
        println!("SKIPPED: no Django here (tests/run installs it)");
        return None;
    }
    Some(path)
}

/// What the settings of that SimpleJWT are called, and what it answers to these tokens.
async fn ask(python: &PathBuf, mode: &str, database: &str, what: &str, tokens: &[&str]) -> (Vec<String>, Vec<Value>) {
    let mut django = clean(Command::new(python));
    django.arg(fixtures("simplejwt").join("django_app.py")).args([mode, database, what]).stdin(Stdio::piped());
    let said = cli::run(django, &(tokens.join("\n") + "\n")).await.ok().stdout;
    let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let settings = serde_json::from_value(lines.next().unwrap()).unwrap();
    (settings, lines.collect())
}

/// A copy of the predecessor's database, which Django may write to.
fn copied(ward: &Carelink) -> String {
    let copy = ward.scratch().join("django.sqlite3");
    fs::copy(AUTH_USER.database(), &copy).unwrap();
    copy.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_django_beside_us_accepts_our_access_tokens_by_settings_alone() {
    let Some(python) = python() else { return };
    let ward = Carelink::up().await;
    ward.import(AUTH_USER).await;
    let known = AUTH_USER.people().into_iter().find(|known| known.active && known.hasher == "argon2").unwrap();
    let held = ward.sign_in(&known.username, &known.password).await.held();
    let (signed, signature) = held.access.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let own = ward.somebody("only.here").await.held();
    let url = format!("http://{}/.well-known/jwks.json", ward.address());
    let (_, answers) = ask(&python, "jwks", &copied(&ward), &url, &[&held.access, &forged, &held.refresh, &own.access]).await;
    let me = answers[0].clone();
    assert_eq!((&me["status"], &me["username"]), (&json!(200), &json!(known.username)), "{me}");
    assert_eq!(me["user"].to_string(), carelink_tests::claims(&held.access)["user_id"].as_str().unwrap());
    assert!(me["roles"].is_array(), "{me}");
    assert_eq!([&answers[1]["status"], &answers[2]["status"]], [&json!(401), &json!(401)], "forged, and no access token");
    assert_eq!((&answers[3]["status"], &answers[3]["code"]), (&json!(401), &json!("user_not_found")), "nobody there has an id of ours");
}

#[tokio::test]
async fn l3_the_way_back_signs_nobody_out_who_has_not_refreshed_here() {
    let Some(python) = python() else { return };
    let ward = Carelink::up().await;
    let (before, copy) = (fs::read(AUTH_USER.database()).unwrap(), copied(&ward));
    ward.import(AUTH_USER).await;
    assert_eq!(fs::read(AUTH_USER.database()).unwrap(), before, "an import writes nothing there");
    let live: Vec<_> = AUTH_USER.tokens().into_iter().filter(|token| token.state == "live").collect();
    let ours = Pair::of(ward.post("/account/token/refresh/", &json!({"refresh": live[0].refresh})).await).unwrap();
    let secret = fs::read_to_string(AUTH_USER.secret_key_file()).unwrap();
    let tokens = [&live[1].refresh, &ours.refresh, &live[0].refresh].map(String::as_str);
    let (settings, answers) = ask(&python, "alone", &copy, secret.trim_end(), &tokens).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 401, 200], "not refreshed here; ours; refreshed here, and Django's own token kept: {answers:?}");
    // The page says what becomes of every setting that there is.
    let page = fs::read_to_string(root().join("docs/MIGRATION.md")).unwrap();
    for setting in settings {
        assert!(page.contains(&format!("`{setting}`")), "docs/MIGRATION.md says nothing of {setting}");
    }
}
