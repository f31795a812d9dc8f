//! Keys that follow each other (K1), and tokens of services.

use std::time::Duration;

use carelink_platform::{errors::Reason, grpc, lifecycle::Shutdown, random::Random, secrets::MasterKey};
use carelink_proto::token::{
    IntrospectRequest, IssueServiceTokenRequest, KeySet, KeyState, KeyUse, ListKeysRequest, RotateKeysRequest, SigningKey, WatchRequest,
    WithdrawKeyRequest, watch_response::Message,
};
use carelink_verifier::{Refusal, Verifier};
use token_service::Config;
use uuid::Uuid;

use crate::bench::{Bench, bench, bench_with, build_with, claims, kid, master, reason};

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

async fn withdraw(bench: &Bench, kid: &str) -> Result<u64, Reason> {
    let request = WithdrawKeyRequest { kid: kid.into(), reason: "a copy was found".into() };
    let answer = bench.operator().withdraw_key(request).await.map_err(|status| reason(&status))?.into_inner();
    for of in [KeyUse::Access, KeyUse::Refresh] {
        let states = states(&answer.keys, of);
        assert!(states.contains(&KeyState::Signing) && states.contains(&KeyState::Next), "{states:?}");
    }
    assert!(answer.keys.iter().all(|key| key.kid != kid));
    Ok(answer.ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_withdrawn_key_is_believed_nowhere_and_its_sessions_go_on_by_another() {
    let bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let shutdown = Shutdown::new();
    let (app, stopped) = (bench.app.clone(), shutdown.clone());
    let telling = tokio::spawn(async move { app.tell_verifiers(&stopped).await });
    let verifier = Verifier::start(carelink_verifier::Config::default(), grpc::in_process(bench.app.stack(), "gateway"));
    verifier.ready().await;
    verifier.verify(&first.access_token).unwrap();
    let bad = kid(&first.access_token);
    assert_eq!(withdraw(&bench, &bad).await, Ok(0));
    while verifier.verify(&first.access_token).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await; // until it has heard
    }
    assert_eq!(verifier.verify(&first.access_token), Err(Refusal::KeyUnknown));
    assert_eq!(bench.introspect(&first.access_token).await, (false, "token_invalid".into()));
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    assert_ne!(kid(&second.access_token), bad);
    assert!(bench.introspect(&second.access_token).await.0);
    assert_eq!(bench.refresh(&first.refresh_token).await.unwrap(), second, "a replay as well");
    assert_eq!(withdraw(&bench, &bad).await, Err(Reason::NotFound), "it is gone");
    let event = bench.events("key.withdrawn").await.pop().unwrap();
    assert!(event.object.ends_with(&bad), "{}", event.object);
    assert_eq!(bench.events_of(Uuid::from_slice(&id).unwrap()).await.len(), 3);
    let status = bench.operator().withdraw_key(WithdrawKeyRequest { kid: "x".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ReasonRequired);
    shutdown.request();
    telling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_withdrawing_a_key_of_refresh_tokens_ends_what_lives_by_it() {
    let bench = bench().await;
    let mut held = Vec::new();
    for user in 1..=3 {
        held.push(bench.sign_in(Bench::subject(user, 1, &[])).await);
    }
    let bad = kid(&held[0].0.refresh_token);
    let next = keys(&bench).await.into_iter().find(|key| key.r#use() == KeyUse::Refresh && key.state() == KeyState::Next).unwrap().kid;
    assert_eq!(withdraw(&bench, &next).await, Ok(0), "one that has signed nothing yet");
    bench.refresh(&held[0].0.refresh_token).await.unwrap();
    assert_eq!(withdraw(&bench, &bad).await, Ok(3));
    for (pair, id) in held {
        assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::TokenInvalid));
        assert_eq!(bench.introspect(&pair.access_token).await, (false, "session_revoked".into()));
        let events = bench.events_of(Uuid::from_slice(&id).unwrap()).await;
        assert_eq!(events.last().unwrap().reason, "key_withdrawn");
    }
    let (pair, _) = bench.sign_in(Bench::subject(4, 1, &[])).await;
    bench.refresh(&pair.refresh_token).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn k3_what_is_sealed_under_a_master_key_is_sealed_under_another_and_tokens_go_on() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let source = carelink_proto::token::RegisterSourceRequest { source: "old".into(), secret_key: "key".into(), algorithm: String::new() };
    bench.operator().register_source(source).await.unwrap();
    let (new, other, random) = (MasterKey::new([8; 32]), MasterKey::new([9; 32]), Random::system());
    token_service::rewrap(bench.location(), &other, &other, &random).await.unwrap_err();
    assert_eq!(token_service::rewrap(bench.location(), &master(), &new, &random).await.unwrap(), 5);
    assert_eq!(token_service::rewrap(bench.location(), &master(), &new, &random).await.unwrap(), 5, "once more changes nothing");
    let app = build_with(&bench, new).await.unwrap();
    let mut client = carelink_proto::token::token_service_client::TokenServiceClient::new(grpc::in_process(app.stack(), "gateway"));
    let request = carelink_proto::token::RefreshRequest { refresh_token: pair.refresh_token, ..Default::default() };
    client.refresh(request).await.unwrap();
    build_with(&bench, master()).await.unwrap_err();
}
