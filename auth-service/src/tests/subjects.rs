//! What token-service must know reaches it: at once, or late, or raised past what it knows already.

use std::sync::atomic::Ordering;

use carelink_platform::{clock::Timestamp, lifecycle::Shutdown};
use carelink_proto::{
    auth::{ImportUsersRequest, LegacyUser, SetUserActiveRequest},
    token::Subject,
};

use super::*;

async fn u3_away_the_answer_says_pending_and_the_outbox_delivers_later_with_an_event(engine: Engine) {
    let (manual, hand) = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let clock = if engine == Engine::Sqlite { manual } else { Clock::system() };
    let auth = Auth::with(engine, Config::default(), clock).await;
    let user = auth.create("amina", PASSWORD).await;
    auth.played.away.store(true, Ordering::SeqCst);
    let disable = SetUserActiveRequest { id: user.id.clone(), active: false, reason: "left".into() };
    let disabled = auth.operator().set_user_active(disable).await.unwrap().into_inner();
    assert!(disabled.revocation_pending && disabled.revocation == 0);
    assert_eq!((auth.played.subject(&user.id).version, auth.waiting_subjects().await), (1, 1));

    auth.played.away.store(false, Ordering::SeqCst);
    match auth.place.database() {
        None => hand.advance(Duration::from_secs(90)),
        Some(database) => drop(database.sql("UPDATE carelink_auth.outbox SET created_at = created_at - interval '90 s'")),
    }
    let shutdown = Shutdown::new();
    let running = tokio::spawn(auth.app.clone().run(shutdown.clone()));
    let delivered = async {
        while auth.waiting_subjects().await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), delivered).await.unwrap();
    shutdown.request();
    running.await.unwrap();
    assert!(!auth.played.subject(&user.id).active);
    let late = auth.told("subject.delivered_late").await;
    assert_eq!((late.len(), &late[0].subject), (1, &user.id));
    let delay: u64 = late[0].details["delay_ms"].parse().unwrap();
    assert!(delay == 90_000 || (engine == Engine::Postgres && (90_000..200_000).contains(&delay)), "{delay}");
    assert_eq!((auth.told("service.started").await.len(), auth.told("service.stopped").await.len()), (1, 1));
}

async fn u3_the_relay_leaves_to_the_answer_what_has_just_been_committed(engine: Engine) {
    let auth = Auth::new(engine).await;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(auth.app.clone().run(shutdown.clone()));
    for number in 0..20 {
        auth.create(&format!("user{number}"), "").await;
    }
    shutdown.request();
    running.await.unwrap();
    assert_eq!(auth.played.calls.load(Ordering::SeqCst), 20, "once each");
    assert!(auth.told("subject.delivered_late").await.is_empty());
}

async fn u2_a_version_that_token_service_knows_and_we_do_not_is_passed(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    auth.played.hold(Subject { version: 41, active: true, ..auth.played.subject(&user.id) });
    let disable = SetUserActiveRequest { id: user.id.clone(), active: false, reason: "left".into() };
    let answer = auth.operator().set_user_active(disable).await.unwrap().into_inner();
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.active, answer.revocation_pending), (42, false, false));
    assert_eq!(auth.waiting_subjects().await, 0);
}

async fn a6_where_the_policy_is_to_refuse_signing_in_waits_for_the_trail_and_disabling_does_not(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let legacy = |n: i64| LegacyUser { legacy_id: n, username: format!("user{n}"), password_hash: "!".into(), ..Default::default() };
    let request = ImportUsersRequest { source: "east".into(), users: (1..=150).map(legacy).collect(), ..Default::default() };
    auth.operator().import_users(request).await.unwrap();
    auth.sign_in("amina", PASSWORD).await.unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(auth.app.clone().run(shutdown.clone()));
    let refused = async {
        while auth.app.store.trail.admit().is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap();
    assert_eq!(auth.refused("amina", PASSWORD).await.http(), 503);
    let disable = SetUserActiveRequest { id: user.id.clone(), active: false, reason: "left".into() };
    auth.operator().set_user_active(disable.clone()).await.unwrap();
    assert!(!auth.played.subject(&user.id).active);
    let enable = SetUserActiveRequest { active: true, ..disable };
    assert_eq!(reason(&auth.operator().set_user_active(enable).await.unwrap_err()).http(), 503);
    shutdown.request();
    running.await.unwrap();
}

on_both_engines!(
    u3_away_the_answer_says_pending_and_the_outbox_delivers_later_with_an_event,
    u3_the_relay_leaves_to_the_answer_what_has_just_been_committed,
    u2_a_version_that_token_service_knows_and_we_do_not_is_passed,
    a6_where_the_policy_is_to_refuse_signing_in_waits_for_the_trail_and_disabling_does_not,
);
