//! Canaries: planted secrets that must turn up in no log line, no database file, no metric and no answer but the one they belong to.

use std::fs;

use carelink_tests::{
    Person, Start,
    predecessor::{Source, legacy, refresh_claims},
};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

const PASSWORD: &str = "canary-password-of-seven-nurses";
const NEW_PASSWORD: &str = "canary-password-of-nine-doctors";
const TYPED: &str = "canary-typed-by-mistake";
const UNKNOWN: &str = "canary-nobody-has-this-name";
const AGENT: &str = "canary-agent/1.0";
const ADDRESS: &str = "203.0.113.77";
const REASON: &str = "canary-reason-she-is-ill";
const EMAIL: &str = "canary-mail@ward.example";
const NAME: &str = "canary-amina";

/// Whether a text is anywhere in these bytes.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a3_secrets_turn_up_nowhere() {
    let folder = TempDir::new().unwrap();
    let source = Source::create(folder.path());
    source.add(1, "alice", true);
    let old = legacy(&refresh_claims("0123456789abcdef0123456789abcdef", "1".into()));
    source.outstanding(1, &old);
    let ward = Start::default()
        .unlimited()
        .set("telemetry.log", "debug,h2=info,hyper=info")
        .set("gateway.trusted_proxies", "127.0.0.1/32")
        .up()
        .await;
    source.import_into(&ward).await;
    ward.cli_with(&["user", "add", NAME, "--email", EMAIL, "--role", "nurse", "--password-stdin"], PASSWORD).await.ok();

    let headers = [("content-type", "application/json"), ("user-agent", AGENT), ("x-forwarded-for", ADDRESS)];
    let mut answers = Vec::new();
    for (name, password) in [(NAME, TYPED), (UNKNOWN, PASSWORD), (NAME, PASSWORD)] {
        let body = json!({"username": name, "password": password}).to_string();
        answers.push(ward.ask(Method::POST, "/account/token/", &headers, body).await);
    }
    let first = carelink_tests::Pair::of(answers.pop().unwrap()).unwrap();
    let amina = Person::holding(&ward, NAME, first.clone());
    let alice = Person::holding(&ward, "alice", carelink_tests::Pair { access: String::new(), refresh: old.clone() });
    amina.is_in().await;
    let (second, alices) = (amina.stays().await, alice.stays().await);
    let third = amina.stays().await;
    for (path, body) in [
        ("/account/token/refresh/", json!({"refresh": first.refresh})), // reuse
        ("/account/token/refresh/", json!({"refresh": format!("{}x", second.refresh)})),
        ("/account/token/verify/", json!({"token": third.access})),
        ("/account/token/blacklist/", json!({"refresh": third.refresh})),
        ("/account/token/", json!({"username": NAME, "password": PASSWORD, "canary": [TYPED]})),
    ] {
        let answer = ward.ask(Method::POST, path, &headers, body.to_string()).await;
        if answer.status != 200 {
            answers.push(answer);
        }
    }
    let set = ["user", "set-password", NAME, "--password-stdin", "--reason", REASON];
    ward.cli_with(&set, NEW_PASSWORD).await.ok();
    let again = ward.sign_in(NAME, NEW_PASSWORD).await.held();
    ward.cli(&["user", "disable", NAME, "--reason", REASON]).await.ok();
    ward.delivered().await;

    let tokens = [&first, &second, &third, &alices, &again].map(|pair| [pair.access.clone(), pair.refresh.clone()]).concat();
    let parts = tokens.iter().chain([&old]).flat_map(|token| token.split('.').skip(1).map(str::to_owned));
    let secrets: Vec<String> = [PASSWORD, NEW_PASSWORD, TYPED, UNKNOWN, AGENT, ADDRESS, REASON, carelink_tests::predecessor::SECRET_KEY]
        .map(str::to_owned)
        .into_iter()
        .chain(parts)
        .collect();
    let mut places = vec![("the log".to_owned(), ward.log().into_bytes()), ("stdout".to_owned(), ward.stdout_text().into_bytes())];
    places.push(("the metrics".to_owned(), ward.ops("/metrics").await.unwrap().body.to_vec()));
    places.extend(answers.iter().map(|answer| ("an answer".to_owned(), format!("{:?} {}", answer.headers, answer.text()).into_bytes())));
    // While it runs, with the write-ahead log, and after it has ended in order.
    places.extend(ward.files().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)));
    ward.terminate().await;
    places.extend(ward.files().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)));
    assert!(places.iter().any(|(place, _)| place.ends_with("audit.sqlite3-wal")), "the files of a running database are among them");
    for (place, bytes) in &places {
        for secret in &secrets {
            assert!(!holds(bytes, secret), "{secret} is in {place}");
        }
        // Names and addresses of people are auth-service's alone (A2), and in no log.
        if !place.contains("auth.sqlite3") {
            for personal in [NAME, EMAIL] {
                assert!(!holds(bytes, personal), "{personal} is in {place}");
            }
        }
    }
    // The canaries do sing where they are looked for: what is sealed can be read by whoever may.
    ward.start().await;
    let trail = ward.json(&["audit", "list", "--all", "--json"]).await.to_string();
    for sealed in [AGENT, ADDRESS, REASON] {
        assert!(trail.contains(sealed), "{sealed} cannot be read by an auditor");
    }
    for secret in [PASSWORD, NEW_PASSWORD, TYPED, UNKNOWN, NAME, EMAIL].map(str::to_owned).iter().chain(&tokens) {
        assert!(!trail.contains(secret.as_str()), "{secret} is in the trail");
    }
    assert_eq!(fs::read_to_string(ward.data().join("master.key")).unwrap().trim_end().len(), 64);
}
