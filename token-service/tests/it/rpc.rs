//! Over the real stack and a real database: who may call, what races settle to, what is told to whom.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{clock::Timestamp, errors::Reason, lifecycle::Shutdown};
use carelink_proto::token::{
    ApplySubjectsRequest, CreateSessionRequest, ImportSessionsRequest, LegacyToken, LegacyTokenOutcome, RefreshRequest,
    RegisterSourceRequest, RevokeSessionsRequest, Subject, WatchRequest, revoke_sessions_request::Target, watch_response::Message,
};
use token_service::Config;
use uuid::Uuid;

use crate::bench::{Bench, START, as_user, bench, bench_with, reason};

#[tokio::test(flavor = "multi_thread")]
async fn s3_twenty_parallel_refreshes_give_one_successor_and_it_goes_on() {
    let bench = Arc::new(bench().await);
    let (mut pair, _) = bench.sign_in(Bench::subject(1, 1, &["nurse"])).await;
    for _ in 0..20 {
        let racers = (0..20).map(|_| {
            let (bench, token) = (Arc::clone(&bench), pair.refresh_token.clone());
            tokio::spawn(async move { bench.refresh(&token).await.unwrap() })
        });
        let mut successors = HashSet::new();
        for racer in racers.collect::<Vec<_>>() {
            let got = racer.await.unwrap();
            successors.insert((got.access_token.clone(), got.refresh_token.clone()));
            pair = got;
        }
        assert_eq!(successors.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_reuse_past_grace_ends_the_session_and_its_successor() {
    let bench = bench().await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    bench.hand.advance(Duration::from_secs(29));
    assert_eq!(bench.refresh(&first.refresh_token).await.unwrap(), second, "within grace");
    bench.hand.advance(Duration::from_secs(1));
    assert_eq!(bench.refresh(&first.refresh_token).await, Err(Reason::SessionReused));
    assert_eq!(bench.refresh(&second.refresh_token).await, Err(Reason::SessionRevoked));
    assert_eq!(bench.introspect(&second.access_token).await, (false, "session_revoked".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_replay_whose_access_token_ran_out_gets_a_fresh_one_of_the_same_generation() {
    let mut config = Config::default();
    config.session.grace = Duration::from_secs(3_600);
    let bench = bench_with(config).await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    bench.hand.advance(Duration::from_secs(901));
    let again = bench.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(again.refresh_token, second.refresh_token);
    assert_ne!(again.access_token, second.access_token);
    assert_eq!(bench.refresh(&first.refresh_token).await.unwrap(), again);
    assert!(bench.introspect(&again.access_token).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_the_end_never_moves_and_access_tokens_do_not_outlive_it() {
    let bench = bench().await;
    let (mut pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    for _ in 0..48 {
        bench.hand.advance(Duration::from_secs(890));
        pair = bench.refresh(&pair.refresh_token).await.unwrap();
        assert_eq!(pair.session_ends, START + 43_200);
        assert!(pair.access_expires <= pair.session_ends);
    }
    bench.hand.set(Timestamp::from_secs(START + 43_200));
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionExpired));
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_any_genuine_token_signs_out_and_only_the_current_one_is_told_so() {
    let bench = bench().await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(bench.sign_out(&first.refresh_token).await, Err(Reason::SessionRevoked), "ends it and says blacklisted");
    assert_eq!(bench.refresh(&second.refresh_token).await, Err(Reason::SessionRevoked));
    let (other, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    assert!(bench.sign_out(&other.refresh_token).await.unwrap() > 0);
    assert_eq!(bench.sign_out(&other.refresh_token).await, Err(Reason::SessionRevoked));
    assert_eq!(bench.sign_out(&other.access_token).await, Err(Reason::TokenTypeWrong));
    assert_eq!(bench.sign_out("garbage").await, Err(Reason::TokenInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_introspection_never_triggers_reuse() {
    let bench = bench().await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    bench.hand.advance(Duration::from_secs(60));
    assert_eq!(bench.introspect(&first.refresh_token).await, (false, "session_reused".into()));
    bench.refresh(&second.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_the_same_assertion_gets_the_same_pair_until_the_session_moves() {
    let bench = bench().await;
    let request = CreateSessionRequest { assertion: bench.assertion(Bench::subject(1, 1, &[])), ..Default::default() };
    let first = bench.gateway().create_session(request.clone()).await.unwrap().into_inner();
    let again = bench.gateway().create_session(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again);
    bench.refresh(&first.tokens.unwrap().refresh_token).await.unwrap();
    assert_eq!(reason(&bench.gateway().create_session(request).await.unwrap_err()), Reason::AssertionUsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_disabling_ends_sessions_and_an_older_proof_begins_none() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let before = bench.assertion(Bench::subject(1, 1, &[]));
    let disabled = Subject { active: false, min_version: 2, end_reason: "disabled".into(), ..Bench::subject(1, 2, &[]) };
    assert!(bench.apply(disabled.clone()).await > 0);
    assert_eq!(bench.apply(disabled).await, 0, "idempotent");
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::UserInactive));
    let late = bench.gateway().create_session(CreateSessionRequest { assertion: before, ..Default::default() }).await.unwrap_err();
    assert_eq!(reason(&late), Reason::CredentialsInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_a_password_change_ends_all_but_the_excepted() {
    let bench = bench().await;
    let (here, session) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let (there, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench
        .apply(Subject { min_version: 2, excepted_session: session, end_reason: "password_changed".into(), ..Bench::subject(1, 2, &[]) })
        .await;
    bench.refresh(&here.refresh_token).await.unwrap();
    assert_eq!(bench.refresh(&there.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_a_lost_role_refuses_present_access_tokens_and_the_refresh_goes_on() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &["doctor", "nurse"])).await;
    assert!(bench.apply(Bench::subject(1, 2, &["nurse"])).await > 0);
    assert_eq!(bench.introspect(&pair.access_token).await, (false, "session_revoked".into()));
    let next = bench.refresh(&pair.refresh_token).await.unwrap();
    assert!(bench.introspect(&next.access_token).await.0);
    let payload = URL_SAFE_NO_PAD.decode(next.access_token.split('.').nth(1).unwrap()).unwrap();
    assert!(String::from_utf8(payload).unwrap().contains(r#""roles":["nurse"]"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_what_was_swept_stays_dead_though_the_clock_steps_back() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let id = Uuid::from_slice(&id).unwrap();
    let shutdown = Shutdown::new();
    bench.hand.set(Timestamp::from_secs(START + 43_201));
    let mut commits = bench.app.store().db.commits();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    while token_service::store::find_session(bench.app.store(), id).await.unwrap().unwrap().session.ended.is_none() {
        commits.changed().await.unwrap();
    }
    bench.hand.set(Timestamp::from_secs(START + 40_000));
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionExpired));
    assert_eq!(bench.introspect(&pair.access_token).await, (false, "session_expired".into()));
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_watcher_hears_a_snapshot_then_every_revocation_without_gaps() {
    let bench = bench().await;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    let (before, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench.sign_out(&before.refresh_token).await.unwrap();
    let mut stream = bench.client("gateway").watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(snapshot)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    assert_eq!((snapshot.head, snapshot.revocations.len(), snapshot.keys.unwrap().keys.len()), (1, 1, 2));
    for _ in 0..5 {
        let (pair, _) = bench.sign_in(Bench::subject(2, 1, &[])).await;
        bench.sign_out(&pair.refresh_token).await.unwrap();
    }
    let (mut numbers, mut beats) = (Vec::new(), 0);
    while numbers.len() < 5 || beats == 0 {
        match stream.message().await.unwrap().unwrap().message.unwrap() {
            Message::Entries(entries) => numbers.extend(entries.revocations.iter().map(|entry| entry.number)),
            Message::Heartbeat(_) => beats += 1,
            _ => panic!("neither entries nor a heartbeat"),
        }
    }
    assert_eq!(numbers, [2, 3, 4, 5, 6]);
    shutdown.request();
    running.await.unwrap();
    while stream.message().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_nobody_calls_what_the_table_does_not_allow() {
    let bench = bench().await;
    let status = bench.client("audit-service").refresh(RefreshRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CallerRefused);
    let status = bench.gateway().apply_subjects(ApplySubjectsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CallerRefused);
    let revoke = RevokeSessionsRequest { target: Some(Target::Subject(vec![1; 16])), reason: "x".into() };
    assert_eq!(reason(&bench.gateway().revoke_sessions(revoke.clone()).await.unwrap_err()), Reason::TokenMissing);
    let (_, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let (nurse, _) = bench.sign_in(Bench::subject(3, 1, &["nurse"])).await;
    assert_eq!(reason(&bench.gateway().revoke_sessions(as_user(&nurse, revoke.clone())).await.unwrap_err()), Reason::RoleRequired);
    let (admin, _) = bench.sign_in(Bench::subject(2, 1, &["admin"])).await;
    assert_eq!(bench.gateway().revoke_sessions(as_user(&admin, revoke.clone())).await.unwrap().into_inner().ended, 1);
    bench.sign_out(&admin.refresh_token).await.unwrap();
    assert_eq!(reason(&bench.gateway().revoke_sessions(as_user(&admin, revoke)).await.unwrap_err()), Reason::SessionRevoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_gateway_cannot_begin_a_session_without_proof() {
    let bench = bench().await;
    for assertion in [String::new(), "a.b.c".into(), bench.assertion(Bench::subject(1, 1, &[])).replace('.', "..")] {
        let status = bench.gateway().create_session(CreateSessionRequest { assertion, ..Default::default() }).await.unwrap_err();
        assert_eq!(reason(&status), Reason::AssertionInvalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_an_outstanding_token_refreshes_once_into_ours_and_l5_is_kept_when_imported_again() {
    let bench = bench().await;
    bench.apply(Bench::subject(1, 1, &["nurse"])).await;
    let mut operator = bench.operator();
    let source = RegisterSourceRequest { source: "old".into(), secret_key: "key".into(), algorithm: "HS256".into() };
    operator.register_source(source).await.unwrap();
    let claims = serde_json::json!({"token_type": "refresh", "exp": START + 7_200, "iat": START - 10, "jti": "93f5e37fe28e455587b4f1a6047fefa0", "user_id": "1"});
    let key = jsonwebtoken::EncodingKey::from_secret(b"key");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256), &claims, &key).unwrap();
    let row = LegacyToken {
        jti: "93f5e37fe28e455587b4f1a6047fefa0".into(),
        subject: vec![1; 16],
        created_us: (START - 10) * 1_000_000,
        expires_us: (START + 7_200) * 1_000_000,
        blacklisted: false,
    };
    assert_eq!(bench.refresh(&token).await, Err(Reason::SessionExpired), "not imported: no row");
    let import = |blacklisted, dry_run| ImportSessionsRequest {
        source: "old".into(),
        tokens: vec![LegacyToken { blacklisted, ..row.clone() }],
        dry_run,
        ..Default::default()
    };
    let outcome =
        |response: tonic::Response<carelink_proto::token::ImportSessionsResponse>| response.into_inner().outcomes().next().unwrap();
    assert_eq!(outcome(operator.import_sessions(import(false, true)).await.unwrap()), LegacyTokenOutcome::Live);
    assert_eq!(bench.refresh(&token).await, Err(Reason::SessionExpired), "a dry run writes nothing");
    assert_eq!(outcome(operator.import_sessions(import(false, false)).await.unwrap()), LegacyTokenOutcome::Live);
    let ours = bench.refresh(&token).await.unwrap();
    assert_eq!(bench.refresh(&token).await.unwrap(), ours);
    assert_eq!(ours.session_ends, START + 7_200);
    assert_eq!(outcome(operator.import_sessions(import(false, false)).await.unwrap()), LegacyTokenOutcome::Unchanged);
    assert_eq!(outcome(operator.import_sessions(import(true, false)).await.unwrap()), LegacyTokenOutcome::Kept);
    bench.refresh(&ours.refresh_token).await.unwrap();
    assert_eq!(bench.refresh(&format!("{token}x")).await, Err(Reason::TokenInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_can_be_prepared() {
    let bench = bench().await;
    for statements in token_service::store::STATEMENTS {
        bench.app.store().db.check(statements).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_everything_is_there_after_the_process_is_gone() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let next = bench.refresh(&pair.refresh_token).await.unwrap();
    let found = token_service::store::find_session(bench.app.store(), Uuid::from_slice(&id).unwrap()).await.unwrap().unwrap();
    assert_eq!(found.session.generation, 1);
    assert_eq!(bench.refresh(&pair.refresh_token).await.unwrap(), next, "a lost answer is given again");
}
