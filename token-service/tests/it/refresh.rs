//! Refreshes that come late (T4), that race each other between two statements, whose clients hang up, and whose rows were lost.

use std::time::Duration;

use carelink_database::trail::Noted;
use carelink_platform::{
    errors::{Failure, Reason},
    lifecycle::Shutdown,
};
use carelink_proto::token::{RefreshRequest, SignOutRequest, WatchRequest, watch_response::Message};
use token_service::{
    domain::session::Session,
    store::{self, Replayed},
};
use uuid::Uuid;

use crate::bench::{Bench, bench, types};

async fn row(bench: &Bench, id: &[u8]) -> Session {
    store::find_session(bench.app.store(), Uuid::from_slice(id).unwrap()).await.unwrap().unwrap().session
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_refresh_that_comes_to_its_turn_late_decides_nothing_whatever_it_presents() {
    let bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    let third = bench.refresh(&second.refresh_token).await.unwrap();
    for token in [&first, &second, &third] {
        let (before, events) = (row(&bench, &id).await, bench.events_of(Uuid::from_slice(&id).unwrap()).await);
        let held = bench.hold().await;
        let mut gateway = bench.gateway();
        let mut stalled = Box::pin(gateway.refresh(RefreshRequest { refresh_token: token.refresh_token.clone(), ..Default::default() }));
        assert!(futures::poll!(&mut stalled).is_pending(), "it waits in the writer's queue");
        bench.hand.advance(Duration::from_secs(6));
        held.release().await;
        let failure = Failure::from_status(&stalled.await.unwrap_err());
        assert_eq!((failure.reason(), failure.retry()), (Reason::Late, Some(Duration::from_secs(1))));
        assert_eq!((row(&bench, &id).await, bench.events_of(Uuid::from_slice(&id).unwrap()).await), (before, events));
    }
    bench.refresh(&third.refresh_token).await.unwrap();
}

fn replayed() -> Replayed {
    Replayed {
        access_lifetime: Duration::from_secs(900),
        access_kid: String::new(),
        key_gone: false,
        event: Noted { id: Uuid::from_u128(7), body: Vec::new() },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_replay_whose_successor_moves_on_meanwhile_is_recorded_and_changes_nothing() {
    let bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    let found = row(&bench, &id).await; // what the replay was judged by
    bench.refresh(&second.refresh_token).await.unwrap();
    bench.hand.advance(Duration::from_secs(1_000)); // the pair of now has run out; it is not the replay's to renew
    let moved = row(&bench, &id).await;
    let recorded = store::record_replay(bench.app.store(), &found, replayed()).await.unwrap();
    assert_eq!(recorded, Some(moved.clone()));
    assert_eq!(row(&bench, &id).await, moved);
    assert_eq!(bench.events_of(Uuid::from_slice(&id).unwrap()).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_replay_whose_session_ends_meanwhile_is_none() {
    let bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    let found = row(&bench, &id).await;
    bench.sign_out(&second.refresh_token).await.unwrap();
    assert_eq!(store::record_replay(bench.app.store(), &found, replayed()).await.unwrap(), None);
    assert_eq!(bench.refresh(&first.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_replays_and_the_next_refresh_at_once_never_look_like_reuse() {
    let bench = std::sync::Arc::new(bench().await);
    let (mut first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    for _ in 0..100 {
        let second = bench.refresh(&first.refresh_token).await.unwrap();
        let call = |token: &str| {
            let (bench, token) = (std::sync::Arc::clone(&bench), token.to_owned());
            tokio::spawn(async move { bench.refresh(&token).await })
        };
        let replays: Vec<_> = (0..4).map(|_| call(&first.refresh_token)).collect();
        for replay in replays {
            assert_eq!(replay.await.unwrap(), Ok(second.clone()));
        }
        first = second;
    }
    assert!(row(&bench, &id).await.ended.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_a_sign_out_is_seen_through_and_told_though_its_client_hangs_up() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let shutdown = Shutdown::new();
    let (app, stopped) = (bench.app.clone(), shutdown.clone());
    let telling = tokio::spawn(async move { app.tell_verifiers(&stopped).await });
    let mut stream = bench.gateway().watch(WatchRequest {}).await.unwrap().into_inner();
    let held = bench.hold().await;
    let mut gateway = bench.gateway();
    let mut call = Box::pin(gateway.sign_out(SignOutRequest { refresh_token: pair.refresh_token.clone(), ..Default::default() }));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    held.release().await;
    loop {
        if let Message::Entries(entries) = stream.message().await.unwrap().unwrap().message.unwrap() {
            assert_eq!((entries.head, &entries.revocations[0].session), (1, &id));
            break;
        }
    }
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionRevoked));
    shutdown.request();
    telling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_token_ahead_of_a_restored_row_is_state_lost_and_ends_it() {
    let mut bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let copy = bench.copy();
    let second = bench.refresh(&first.refresh_token).await.unwrap();
    bench.restart_on(copy).await;
    assert_eq!(bench.introspect(&second.refresh_token).await, (false, "session_state_lost".into()));
    assert!(row(&bench, &id).await.ended.is_none(), "asking ends nothing (S9)");
    assert_eq!(bench.refresh(&second.refresh_token).await, Err(Reason::SessionStateLost));
    assert_eq!(bench.refresh(&first.refresh_token).await, Err(Reason::SessionRevoked));
    let events = bench.events_of(Uuid::from_slice(&id).unwrap()).await;
    assert_eq!(types(&events), ["session.started", "session.state_lost"]);
    assert_eq!((events[1].details["generation"].as_str(), events[1].details["held"].as_str()), ("1", "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_two_successors_of_one_token_are_never_both_believed() {
    let mut bench = bench().await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let copy = bench.copy();
    let lost = bench.refresh(&first.refresh_token).await.unwrap();
    bench.restart_on(copy).await;
    let other = bench.refresh(&first.refresh_token).await.unwrap();
    assert_ne!(other.refresh_token, lost.refresh_token);
    assert_eq!(bench.refresh(&lost.refresh_token).await, Err(Reason::SessionStateLost), "its jti does not fit");
    assert_eq!(bench.refresh(&other.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_ours_is_invalid_however_long() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let (signed, _) = pair.refresh_token.rsplit_once('.').unwrap();
    for token in [
        "x".repeat(1_000_000),
        ".".repeat(100_000),
        format!("{}.x", pair.refresh_token),
        format!("{signed}."),
        signed.to_owned(),
        "\0".into(),
    ] {
        assert_eq!(bench.refresh(&token).await, Err(Reason::TokenInvalid));
        assert_eq!(bench.sign_out(&token).await, Err(Reason::TokenInvalid));
        assert_eq!(bench.introspect(&token).await, (false, "token_invalid".into()));
        assert_eq!(bench.create(token).await.err(), Some(Reason::AssertionInvalid));
    }
    bench.refresh(&pair.refresh_token).await.unwrap();
}
