//! What the trail is told of sessions and keys: by whom, why, and what only the audit service may read (A2).

use std::time::Duration;

use carelink_platform::{errors::Reason, lifecycle::Shutdown};
use carelink_proto::{
    audit::{ActorKind, Event, Outcome, Personal},
    token::{CreateSessionRequest, Origin, RefreshRequest, RevokeSessionsRequest, Subject, revoke_sessions_request::Target},
};
use uuid::Uuid;

use carelink_servers::Engine;

use crate::ENGINE;
use crate::bench::{Bench, as_user, bench, sealing, types};

fn actor(event: &Event) -> (ActorKind, &str) {
    event.actor.as_ref().map_or((ActorKind::Unspecified, ""), |actor| (actor.kind(), actor.id.as_str()))
}

fn personal(event: &Event) -> Personal {
    sealing().open(&event.id, event.personal.as_ref().expect("a personal part")).unwrap()
}

fn somewhere() -> Option<Origin> {
    Some(Origin { network: "192.0.2.7".into(), user_agent: format!("{}ä", "x".repeat(255)) })
}

async fn refresh_from(bench: &Bench, token: &str) {
    let _ = bench.gateway().refresh(RefreshRequest { refresh_token: token.into(), origin: somewhere(), ..Default::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a_session_s_events_say_by_whom_why_and_from_where() {
    let bench = bench().await;
    let amina = Uuid::from_bytes([1; 16]).to_string();
    let request =
        CreateSessionRequest { assertion: bench.assertion(Bench::subject(1, 1, &["nurse"])), origin: somewhere(), ..Default::default() };
    let begun = bench.gateway().create_session(request).await.unwrap().into_inner();
    let (first, id) = (begun.tokens.unwrap(), Uuid::from_slice(&begun.session).unwrap());
    refresh_from(&bench, &first.refresh_token).await;
    bench.hand.advance(Duration::from_millis(2_500));
    refresh_from(&bench, &first.refresh_token).await;
    bench.hand.advance(Duration::from_secs(60));
    refresh_from(&bench, &first.refresh_token).await;
    let events = bench.events_of(id).await;
    assert_eq!(types(&events), ["session.started", "session.refreshed", "session.replayed", "session.reuse_detected"]);
    let actors: Vec<_> = events.iter().map(actor).collect();
    assert_eq!(
        actors,
        [(ActorKind::User, amina.as_str()), (ActorKind::Unspecified, ""), (ActorKind::User, &amina), (ActorKind::Anonymous, "")]
    );
    assert_eq!(events[1].personal, None, "a plain refresh has no personal part");
    for event in [&events[0], &events[2], &events[3]] {
        let personal = personal(event);
        assert_eq!((personal.network.as_str(), personal.user_agent.len()), ("192.0.2.7", 255), "cut where a character ends");
    }
    assert_eq!((events[2].details["generation"].as_str(), events[2].details["age_ms"].as_str()), ("0", "2500"));
    let reuse = &events[3];
    assert_eq!((reuse.details["generation"].as_str(), reuse.details["held"].as_str()), ("0", "1"));
    assert_eq!((reuse.details["age_ms"].as_str(), reuse.reason.as_str()), ("62500", "reused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_an_ended_session_s_event_says_who_ended_it_and_the_words_are_sealed() {
    let bench = bench().await;
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.push(bench.sign_in(Bench::subject(1, 1, &[])).await);
    }
    let id = |at: usize| Uuid::from_slice(&ended[at].1).unwrap();
    bench.sign_out(&ended[0].0.refresh_token).await.unwrap();
    let (admin, _) = bench.sign_in(Bench::subject(2, 1, &["admin"])).await;
    let revoke = |at: usize| RevokeSessionsRequest { target: Some(Target::Session(ended[at].1.clone())), reason: "canary left".into() };
    bench.gateway().revoke_sessions(as_user(&admin, revoke(1))).await.unwrap();
    bench.operator().revoke_sessions(revoke(2)).await.unwrap();
    bench.apply(Subject { active: false, min_version: 2, end_reason: "disabled".into(), ..Bench::subject(1, 2, &[]) }).await;
    let (amina, boss) = (Uuid::from_bytes([1; 16]).to_string(), Uuid::from_bytes([2; 16]).to_string());
    let told = [
        ("session.signed_out", "signed_out", ActorKind::User, amina.as_str()),
        ("session.ended", "revoked", ActorKind::User, boss.as_str()),
        ("session.ended", "revoked", ActorKind::Operator, "uid:0"),
        ("session.ended", "disabled", ActorKind::Service, "auth-service"),
    ];
    for (at, (kind, reason, by, name)) in told.into_iter().enumerate() {
        let last = bench.events_of(id(at)).await.pop().unwrap();
        assert_eq!((last.r#type.as_str(), last.reason.as_str(), actor(&last)), (kind, reason, (by, name)));
        match reason {
            "revoked" => assert_eq!(personal(&last).text, "canary left"),
            _ => assert_eq!(last.personal, None),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_a_session_that_an_assertion_s_snapshot_ends_was_ended_by_auth_service() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let changed = Subject { min_version: 2, end_reason: "password_changed".into(), ..Bench::subject(1, 2, &[]) };
    bench.sign_in(changed).await;
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionRevoked));
    let last = bench.events_of(Uuid::from_slice(&id).unwrap()).await.pop().unwrap();
    assert_eq!((last.reason.as_str(), actor(&last)), ("password_changed", (ActorKind::Service, "auth-service")));
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_an_assertion_that_begins_no_session_is_in_the_trail() {
    let bench = bench().await;
    let late = bench.assertion(Bench::subject(1, 1, &[]));
    let used = bench.assertion(Bench::subject(1, 1, &[]));
    let (pair, _) = bench.create(used.clone()).await.unwrap();
    bench.refresh(&pair.refresh_token).await.unwrap();
    assert_eq!(bench.create(used).await.err(), Some(Reason::AssertionUsed));
    bench.apply(Subject { active: false, min_version: 2, end_reason: "disabled".into(), ..Bench::subject(1, 2, &[]) }).await;
    assert_eq!(bench.create(late).await.err(), Some(Reason::CredentialsInvalid));
    assert_eq!(bench.create("forged".into()).await.err(), Some(Reason::AssertionInvalid));
    let started = bench.events("session.started").await;
    let told: Vec<_> = started.iter().map(|event| (event.outcome(), event.reason.as_str(), event.subject.len())).collect();
    let failed = |reason| (Outcome::Failure, reason, 16);
    assert_eq!(told, [(Outcome::Success, "", 0), failed("assertion_used"), failed("not_admitted")]); // the first row's columns say whose
    let shutdown = Shutdown::new();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    let mut commits = bench.app.store().db.commits();
    while bench.events("caller.refused").await.is_empty() {
        commits.changed().await.unwrap();
    }
    let refused = &bench.events("caller.refused").await[0];
    assert_eq!((refused.reason.as_str(), actor(refused)), ("assertion_invalid", (ActorKind::Service, "gateway")));
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_s_own_events_tell_of_keys_configuration_schema_and_of_its_beginning_and_end() {
    let mut bench = bench().await;
    let keys = bench.events("key.created").await;
    let uses: Vec<&str> = keys.iter().map(|event| event.details["use"].as_str()).collect();
    assert_eq!(uses, ["access", "access", "refresh", "refresh"]);
    assert!(keys.iter().all(|event| event.object.starts_with("key:") && actor(event) == (ActorKind::Service, "token-service")));
    let steps = bench.events("migration.run").await;
    let opening_migrates = ENGINE == Engine::Sqlite;
    assert_eq!(steps.iter().any(|event| event.object == "migration:token/0001_sessions"), opening_migrates);
    let shutdown = Shutdown::new();
    let running = tokio::spawn(bench.app.clone().run(shutdown.clone()));
    let mut commits = bench.app.store().db.commits();
    while bench.events("service.started").await.is_empty() {
        commits.changed().await.unwrap();
    }
    while bench.events("clock.stepped").await.is_empty() {
        bench.hand.advance(Duration::from_secs(60)); // whenever it looks, the clock has jumped
        let _ = tokio::time::timeout(Duration::from_millis(200), commits.changed()).await;
    }
    shutdown.request();
    running.await.unwrap();
    assert_eq!(bench.events("service.stopped").await.len(), 1);
    let step = &bench.events("clock.stepped").await[0];
    assert_eq!((step.details["ahead"].as_str(), actor(step)), ("true", (ActorKind::Service, "token-service")));
    bench.restart().await;
    let loaded = bench.events("config.loaded").await;
    assert_eq!((loaded.len(), &loaded[0].object), (2, &loaded[1].object), "the same fingerprint twice");
    assert_eq!((bench.events("key.created").await.len(), bench.events("migration.run").await.len()), (4, steps.len()));
}
