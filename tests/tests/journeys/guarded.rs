//! What guards itself: the hashing threads, the answer to a wrong password, the socket, the trail (C3, G2, A7, L1, L2).

use std::time::Duration;

use carelink_platform::grpc::connect_unix;
use carelink_proto::token::{RefreshRequest, token_service_client::TokenServiceClient};
use carelink_tests::{
    Carelink, PASSWORD, Person, Start, eventually,
    predecessor::{ACCOUNT_USER, AUTH_USER, Source},
};
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

#[tokio::test]
async fn c3_every_failed_sign_in_takes_as_long_whoever_was_named() {
    const FLOOR: Duration = Duration::from_millis(300);
    let ward = Start::default().unlimited().set("password.failure_floor", "300ms").up().await;
    for name in ["amina21", "bjorn"] {
        ward.add_user(name, PASSWORD, &[]).await;
    }
    ward.cli(&["user", "add", "chloe", "--no-password"]).await.ok();
    ward.cli(&["user", "disable", "bjorn", "--reason", "left"]).await.ok();
    let mut answers = Vec::new();
    for (name, password) in [("amina21", "wrong"), ("bjorn", PASSWORD), ("chloe", PASSWORD), ("nobody", PASSWORD)] {
        let began = Instant::now();
        let answer = Person::sign_in(&ward, name, password).await.unwrap_err();
        let took = began.elapsed();
        assert!(took >= FLOOR, "{name}: {took:?}");
        answers.push((answer.status, answer.text()));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    let failed = ward.whole_trail(&["--type", "sign_in.failed"]).await;
    let reasons: Vec<_> = failed.iter().map(|event| event.text("reason")).collect();
    assert_eq!(reasons, ["password_wrong", "user_inactive", "password_unusable", "user_unknown"]);
}

#[tokio::test]
async fn c3_a_spray_of_passwords_is_turned_away_and_holds_up_nobody_who_is_in() {
    let ward = Start::unconfigured().unlimited().set("password.threads", "1").set("password.queue", "100ms").up().await;
    let amina = ward.somebody("amina21").await;
    let spray = join_all((0..100).map(|n| {
        let name = format!("nobody{n}");
        let ward = &ward;
        async move { Person::sign_in(ward, &name, "a guess").await.unwrap_err() }
    }));
    let staying = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            amina.stays().await;
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(spray, staying);
    let turned_away: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!turned_away.is_empty(), "a queue without end");
    for answer in &turned_away {
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1 && answer.json()["code"].is_string(), "{}", answer.text());
    }
    assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
    println!("the slowest of 20 refreshes beside 100 guesses took {slowest:?}");
    eventually("there is time again", async || Person::sign_in(&ward, "amina21", PASSWORD).await.ok()).await;
}

#[tokio::test]
async fn g2_an_operator_cannot_do_what_only_the_gateway_may() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let channel = connect_unix(&ward.data().join("control.sock"), None).await.unwrap();
    let request = RefreshRequest { refresh_token: amina.held().refresh, ..Default::default() };
    let refused = TokenServiceClient::new(channel).refresh(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    assert_eq!(amina.stays().await.generation(), 1, "and nothing has moved");
    let told = eventually("the trail knows", async || ward.trail(&["--type", "caller.refused"]).await.pop()).await;
    assert!(told.0["actor"]["id"].as_str().unwrap().starts_with("uid:"), "{told:?}");
}

#[tokio::test]
async fn a7_whoever_reads_the_trail_is_in_it() {
    let ward = Carelink::up().await;
    ward.somebody("amina21").await;
    ward.delivered().await;
    let read = ward.trail(&["--user", "amina21"]).await;
    assert!(!read.is_empty());
    let reads = ward.trail(&["--type", "audit.read"]).await;
    assert!(!reads.is_empty());
    for read in reads {
        assert_eq!(read.0["actor"]["kind"], "operator", "{read:?}");
    }
}

#[tokio::test]
async fn l2_no_role_of_ours_comes_from_a_source() {
    let ward = Start::default().unlimited().up().await;
    for source in [AUTH_USER, ACCOUNT_USER] {
        let report = ward.import(source).await;
        assert!(report["dropped_roles"]["admin"].as_u64().unwrap() > 0, "{report}");
    }
    let admins = ward.json(&["user", "list", "--role", "admin", "--all", "--json"]).await;
    let names: Vec<_> = admins["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["carelink-admin"]);
    let supers = ward.json(&["user", "list", "--role", "superuser", "--all", "--json"]).await;
    assert_eq!(supers["users"].as_array().unwrap().len(), 2);
    let report = ward.import_with(AUTH_USER, &["--superusers-as-admins"]).await.json();
    assert_eq!(report["admins"]["first"], json!(["haruto0"]), "{report}");
}

#[tokio::test]
async fn l1_a_name_that_somebody_has_is_refused_and_listed_unless_it_is_qualified() {
    let (east, west) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ward = Carelink::up().await;
    let import = async |folder: &TempDir, more: &[&str]| {
        let source = Source::create(folder.path());
        source.add(1, "alice", true);
        ward.import_from(&source.database(), &source.secret_key_file(), &[&["--json"], more].concat()).await.json()
    };
    let first = import(&east, &["--source", "east"]).await;
    assert_eq!(first["users"]["pbkdf2_sha256"]["imported"], 1, "{first}");
    let second = import(&west, &["--source", "west"]).await;
    assert_eq!(second["refused"]["first"][0]["reason"], "name_taken", "{second}");
    let folder = TempDir::new().unwrap();
    let third = import(&folder, &["--source", "west", "--qualify"]).await;
    assert_eq!(third["users"]["pbkdf2_sha256"]["imported"], 1, "{third}");
    let ids = async |name: &str| ward.json(&["user", "show", name, "--json"]).await["user"]["user_id"].as_i64().unwrap();
    assert_eq!(ids("alice").await, 1);
    assert!(ids("alice@west").await >= 1_000_000_000);
    ward.sign_in("alice@west", carelink_tests::predecessor::PASSWORD).await;
}

#[tokio::test]
async fn a_trail_is_listed_by_what_is_asked_a_page_at_a_time() {
    let ward = Carelink::up().await;
    let (amina, bjorn) = (ward.somebody("amina21").await, ward.somebody("bjorn").await);
    Person::sign_in(&ward, "bjorn", "wrong").await.unwrap_err();
    amina.stays().await;
    amina.sign_out().await.expect(200);
    let all = ward.whole_trail(&[]).await;
    let kinds = async |filters: &[&str]| ward.trail(filters).await.iter().map(|event| event.kind().to_owned()).collect::<Vec<_>>();
    let session = amina.held().session();
    assert_eq!(kinds(&["--session", &session]).await, ["session.started", "session.refreshed", "session.signed_out"]);
    assert_eq!(kinds(&["--user", "bjorn", "--type", "sign_in.*"]).await, ["sign_in.succeeded", "sign_in.failed"]);
    assert_eq!(kinds(&["--user", "bjorn", "--outcome", "failure"]).await, ["sign_in.failed"]);
    assert_eq!(kinds(&["--user", "bjorn", "--until", "1h"]).await, Vec::<String>::new());
    assert!(kinds(&["--user", "bjorn", "--since", "1h"]).await.len() > 2);

    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["audit", "list", "--limit", "3", "--json"];
        args.extend(cursor.as_deref().into_iter().flat_map(|cursor| ["--cursor", cursor]));
        let page = ward.json(&args).await;
        pages.extend(page["events"].as_array().unwrap().iter().map(|event| event["index"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    // Reading is an event, too: what came after the first page is not in it, and nothing else is missing or twice.
    assert!(pages.len() >= all.len(), "{} of {}", pages.len(), all.len());
    assert!(pages.windows(2).all(|two| two[0] == two[1] + 1) && pages.last() == Some(&1), "{pages:?}");
    let bjorns_trace = ward.trail(&["--user", "bjorn", "--type", "session.started"]).await[0].text("trace_id").to_owned();
    let mut of_his_trace = kinds(&["--trace", &bjorns_trace]).await; // of two services: in either order
    of_his_trace.sort();
    assert_eq!(of_his_trace, ["session.started", "sign_in.succeeded"]);
    bjorn.is_in().await;
}
