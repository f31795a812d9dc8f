//! Keys that follow each other (K1), and tokens of services.

use std::time::Duration;

use carelink_platform::{errors::Reason, lifecycle::Shutdown};
use carelink_proto::token::{
    IntrospectRequest, IssueServiceTokenRequest, KeySet, KeyState, KeyUse, ListKeysRequest, RotateKeysRequest, SigningKey, WatchRequest,
    watch_response::Message,
};
use token_service::Config;

use crate::bench::{Bench, bench, bench_with, claims, kid, reason};

async fn keys(bench: &Bench) -> Vec<SigningKey> {
    bench.operator().list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys
}

fn states(keys: &[SigningKey], of: KeyUse) -> Vec<KeyState> {
    keys.iter().filter(|key| key.r#use() == of).map(SigningKey::state).collect()
}

async fn rotate(bench: &Bench) -> (Vec<SigningKey>, bool) {
    let request = RotateKeysRequest { r#use: KeyUse::Unspecified.into(), reason: "a laptop was lost".into() };
    let answer = bench.operator().rotate_keys(request).await.unwrap().into_inner();
    (answer.keys, answer.done)
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_an_operator_rotates_once_the_next_key_is_old_enough_and_nobody_notices() {
    let bench = bench().await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let (asked, done) = rotate(&bench).await;
    assert!(!done, "the next key was made just now");
    assert_eq!(states(&asked, KeyUse::Access), [KeyState::Signing, KeyState::Next]);
    assert!(asked.iter().filter(|key| key.state() == KeyState::Next).all(|key| key.signs_us == key.created_us + 600_000_000));
    bench.hand.advance(Duration::from_secs(600));
    let (rotated, done) = rotate(&bench).await;
    assert!(done);
    for of in [KeyUse::Access, KeyUse::Refresh] {
        assert_eq!(states(&rotated, of), [KeyState::Retired, KeyState::Signing, KeyState::Next]);
    }
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    for (before, after) in [(&first.access_token, &second.access_token), (&first.refresh_token, &second.refresh_token)] {
        assert_ne!(kid(before), kid(after));
        assert!(bench.introspect(before).await.0, "what the retired key signed is good");
    }
    assert_eq!(bench.refresh(&first.refresh_token).await.unwrap(), second, "replayed");
    let events = bench.events("key.rotated").await;
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].details["use"].as_str(), bench.events("key.created").await.len()), ("access", 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_keys_follow_each_other_by_themselves_and_go_with_their_last_token() {
    let mut config = Config::default();
    config.token.rotate_keys_every = Duration::from_secs(21_600);
    let bench = bench_with(config).await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let signed = kid(&pair.access_token);
    bench.hand.advance(Duration::from_secs(21_600));
    run_until(&bench, |keys| states(keys, KeyUse::Access) == [KeyState::Retired, KeyState::Signing, KeyState::Next]).await;
    assert!(keys(&bench).await.iter().any(|key| key.kid == signed), "its tokens may still be good");
    bench.hand.advance(Duration::from_secs(1_500));
    run_until(&bench, |keys| states(keys, KeyUse::Access) == [KeyState::Signing, KeyState::Next]).await;
    assert!(keys(&bench).await.iter().all(|key| key.kid != signed));
    assert_eq!(states(&keys(&bench).await, KeyUse::Refresh), [KeyState::Retired, KeyState::Signing, KeyState::Next], "a session is left");
}

/// The service runs until its keys are so.
async fn run_until(bench: &Bench, done: impl Fn(&[SigningKey]) -> bool) {
    let shutdown = Shutdown::new();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    let mut commits = bench.app.store().db.commits();
    while !done(&keys(bench).await) {
        let _ = tokio::time::timeout(Duration::from_millis(200), commits.changed()).await;
    }
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_verifiers_hear_of_new_keys_before_the_heartbeat_that_vouches_for_them() {
    let bench = bench().await;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    let mut stream = bench.gateway().watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(snapshot)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    let mut held: KeySet = snapshot.keys.unwrap();
    bench.hand.advance(Duration::from_secs(600));
    rotate(&bench).await;
    let mut beats_since = 0;
    while beats_since < 2 {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Keys(keys) => held = keys,
            Message::Heartbeat(beat) => {
                assert_eq!(beat.key_digest, held.digest);
                beats_since += u32::from(held.keys.len() == 3);
            }
            _ => {}
        }
    }
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_rotates_keys_says_why() {
    let bench = bench().await;
    let status = bench.operator().rotate_keys(RotateKeysRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ReasonRequired);
    let status = bench.gateway().rotate_keys(RotateKeysRequest { reason: "x".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&status), Reason::TokenMissing, "a gateway brings an administrator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_token_of_its_own_as_its_account_allows() {
    let mut config = Config::default();
    let account = token_service::ServiceAccount { audiences: vec!["lab".into()], roles: vec!["reader".into(), "writer".into()] };
    config.token.service_accounts.insert("billing".into(), account);
    let bench = bench_with(config).await;
    let ask = |audience: &str, roles: &[&str]| IssueServiceTokenRequest {
        audience: audience.into(),
        roles: roles.iter().map(ToString::to_string).collect(),
    };
    let mut billing = bench.internal("billing");
    let issued = billing.issue_service_token(ask("lab", &["reader"])).await.unwrap().into_inner();
    let said = claims(&issued.token);
    let now = crate::bench::START;
    assert_eq!(
        said,
        serde_json::json!({"iss": "carelink", "sub": "billing", "aud": "lab", "token_type": "service", "iat": now, "exp": now + 900,
            "jti": said["jti"], "roles": ["reader"]})
    );
    assert_eq!(issued.expires, now + 900);
    let answer = bench.gateway().introspect(IntrospectRequest { token: issued.token.clone() }).await.unwrap().into_inner();
    assert_eq!((answer.active, answer.token_type.as_str(), answer.claims), (true, "service", None));
    assert_eq!(bench.refresh(&issued.token).await, Err(Reason::TokenTypeWrong));
    for (mut who, wrong) in [
        (bench.internal("billing"), ask("ward", &[])),
        (bench.internal("billing"), ask("lab", &["admin"])),
        (bench.internal("other"), ask("lab", &[])),
        (bench.gateway(), ask("lab", &[])),
    ] {
        assert_eq!(reason(&who.issue_service_token(wrong).await.unwrap_err()), Reason::CallerRefused);
    }
    let events = bench.events("service_token.issued").await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].actor.as_ref().unwrap().id.as_str(), events[0].details["audience"].as_str()), ("billing", "lab"));
    bench.hand.advance(Duration::from_secs(900));
    assert_eq!(bench.introspect(&issued.token).await, (false, "token_expired".into()));
}
