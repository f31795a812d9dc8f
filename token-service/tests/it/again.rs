//! Calls that are held up on their way, or sent again because nobody knows whether they arrived.

use std::time::Duration;

use carelink_platform::errors::Reason;
use carelink_proto::token::{RefreshRequest, SignOutRequest, TokenPair};
use token_service::Config;
use uuid::Uuid;

use crate::bench::{Bench, START, bench, bench_with, reason};

async fn refresh(bench: &Bench, token: &str, change: impl FnOnce(&mut RefreshRequest)) -> Result<TokenPair, Reason> {
    let mut request = RefreshRequest { refresh_token: token.into(), ..Default::default() };
    change(&mut request);
    let answer = bench.gateway().refresh(request).await;
    answer.map(|answer| answer.into_inner().tokens.unwrap()).map_err(|status| reason(&status))
}

async fn sign_out(bench: &Bench, token: &str, call: u8) -> Result<u64, Reason> {
    let request = SignOutRequest { refresh_token: token.into(), call: vec![call; 16], ..Default::default() };
    bench.gateway().sign_out(request).await.map(|answer| answer.into_inner().revocation).map_err(|status| reason(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_refresh_that_was_held_up_on_its_way_decides_nothing_though_its_time_left_is_fresh() {
    let bench = bench().await;
    let (first, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let until = |seconds: i64| move |request: &mut RefreshRequest| request.deadline_us = (START + seconds) * 1_000_000;
    bench.hand.advance(Duration::from_secs(60)); // it slept in the socket of a process that was stopped
    assert_eq!(refresh(&bench, &first.refresh_token, until(5)).await, Err(Reason::Late));
    let second = refresh(&bench, &first.refresh_token, until(65)).await.unwrap();
    bench.hand.advance(Duration::from_secs(60));
    assert_eq!(refresh(&bench, &first.refresh_token, until(65)).await, Err(Reason::Late), "it would be reuse by now");
    refresh(&bench, &second.refresh_token, |_| ()).await.unwrap();
    assert_eq!(bench.events_of(Uuid::from_slice(&id).unwrap()).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_refresh_that_is_sent_again_gets_the_same_answer_also_where_grace_is_0() {
    let mut config = Config::default();
    config.session.grace = Duration::ZERO;
    let bench = bench_with(config).await;
    let (first, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let call = |id: u8| move |request: &mut RefreshRequest| request.call = vec![id; 16];
    let second = refresh(&bench, &first.refresh_token, call(1)).await.unwrap();
    assert_eq!(refresh(&bench, &first.refresh_token, call(1)).await.as_ref(), Ok(&second));
    let third = refresh(&bench, &second.refresh_token, call(2)).await.unwrap();
    assert_eq!(refresh(&bench, &second.refresh_token, call(2)).await.as_ref(), Ok(&third));
    assert_eq!(refresh(&bench, &first.refresh_token, call(1)).await, Err(Reason::SessionReused), "long past");
    let (other, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    refresh(&bench, &other.refresh_token, call(3)).await.unwrap();
    assert_eq!(refresh(&bench, &other.refresh_token, call(4)).await, Err(Reason::SessionReused), "another call is another caller");
    assert_eq!(refresh(&bench, "x", |request| request.call = vec![1]).await, Err(Reason::InputInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_sign_out_that_is_sent_again_is_told_what_the_first_one_was() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let revocation = sign_out(&bench, &pair.refresh_token, 1).await.unwrap();
    assert!(sign_out(&bench, &pair.refresh_token, 1).await.unwrap() >= revocation);
    assert_eq!(sign_out(&bench, &pair.refresh_token, 2).await, Err(Reason::SessionRevoked), "somebody else, later");
    let (older, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench.refresh(&older.refresh_token).await.unwrap();
    assert_eq!(sign_out(&bench, &older.refresh_token, 3).await, Err(Reason::SessionRevoked), "ended by an older token");
    assert_eq!(sign_out(&bench, &older.refresh_token, 3).await, Err(Reason::SessionRevoked));
    assert_eq!(bench.events_of(Uuid::from_slice(&id).unwrap()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_an_access_token_signs_out_of_its_session_also_when_it_has_expired() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let by = |token: &str| SignOutRequest { access_token: token.into(), ..Default::default() };
    let refused = bench.gateway().sign_out(by(&pair.refresh_token)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::TokenInvalid);
    bench.hand.advance(Duration::from_secs(3_600));
    assert!(bench.gateway().sign_out(by(&pair.access_token)).await.unwrap().into_inner().revocation > 0);
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionRevoked));
}
