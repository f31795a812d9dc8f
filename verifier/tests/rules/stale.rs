//! What a stale verifier does (V3): asks, goes on for a while, and in the end says that it cannot tell.

use std::time::Duration;

use carelink_proto::token::{AccessClaims, IntrospectResponse};
use carelink_verifier::{Config, Purpose, Refusal, Verifier};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{
    issuer::{Issuer, SESSION, pinned, revocation, snapshot},
    service::{Answer, Ward},
};

/// A verifier whose last heartbeat was ten seconds ago.
async fn stale(issuer: &Issuer, answer: Answer) -> (Ward, Verifier) {
    stale_with(issuer, answer, Config::default()).await
}

async fn stale_with(issuer: &Issuer, answer: Answer, config: Config) -> (Ward, Verifier) {
    let ward = Ward::new(&[issuer]);
    let verifier = ward.verifier_with(config).await;
    ward.entries(vec![revocation(1, uuid::Uuid::from_u128(1), u64::MAX)]).await;
    ward.go_away().await;
    sleep(Duration::from_secs(10)).await;
    ward.answer(answer);
    (ward, verifier)
}

fn active(issuer: &Issuer) -> IntrospectResponse {
    let claims = AccessClaims::from(&*pinned(&[issuer]).verify(&issuer.access()).unwrap());
    IntrospectResponse { active: true, reason: String::new(), token_type: "access".into(), claims: Some(claims) }
}

fn inactive(reason: &str) -> IntrospectResponse {
    IntrospectResponse { active: false, reason: reason.into(), token_type: String::new(), claims: None }
}

fn unavailable() -> Answer {
    Answer::Fails(Status::unavailable("away"))
}

#[tokio::test(start_paused = true)]
async fn v3_fresh_asks_nobody() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    for purpose in [Purpose::Edge, Purpose::Grant, Purpose::TakeAway] {
        assert!(verifier.check(&issuer.access(), purpose).await.is_ok());
    }
    assert_eq!(verifier.check(&Issuer::new(2).access(), Purpose::Edge).await, Err(Refusal::KeyUnknown));
    assert_eq!(ward.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn v3_stale_asks_per_call_and_believes_the_answer() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, Answer::Says(active(&issuer))).await;
    for asked in 1..=3 {
        let claims = verifier.check(&issuer.access(), Purpose::Grant).await.unwrap();
        assert_eq!((claims.session, ward.asked()), (SESSION, asked));
    }
    for (reason, refusal) in [
        ("session_revoked", Refusal::Revoked),
        ("session_reused", Refusal::Revoked),
        ("session_expired", Refusal::SessionExpired),
        ("token_expired", Refusal::Expired),
        ("token_invalid", Refusal::Inactive),
        ("something new", Refusal::Inactive),
    ] {
        ward.answer(Answer::Says(inactive(reason)));
        assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(refusal));
    }
    ward.answer(Answer::Says(IntrospectResponse { token_type: "refresh".into(), ..active(&issuer) }));
    assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(Refusal::TypeWrong));
    ward.answer(Answer::Says(IntrospectResponse { claims: None, ..active(&issuer) }));
    assert!(verifier.check(&issuer.access(), Purpose::Edge).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn v3_an_unknown_kid_while_stale_is_asked_about_and_never_blamed() {
    let (issuer, new) = (Issuer::new(1), Issuer::new(2));
    let (ward, verifier) = stale(&issuer, Answer::Says(active(&issuer))).await;
    assert!(verifier.check(&new.access(), Purpose::Edge).await.is_ok());
    ward.answer(unavailable());
    assert_eq!(verifier.check(&new.access(), Purpose::Edge).await, Err(Refusal::Unavailable));
    assert_eq!(verifier.verify(&new.access()), Err(Refusal::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn v3_what_is_certain_while_stale_costs_no_question() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, Answer::Says(active(&issuer))).await;
    let revoked = issuer.access_with(|claims| claims["sid"] = uuid::Uuid::from_u128(1).to_string().into());
    let expired = issuer.access_with(|claims| claims["exp"] = 1.into());
    let forged = Issuer::new(2).sign(&issuer.header(), &crate::issuer::claims());
    for (token, refusal) in [
        (revoked.as_str(), Refusal::Revoked),
        (&expired, Refusal::Expired),
        (&forged, Refusal::SignatureWrong),
        ("garbage", Refusal::Malformed),
    ] {
        assert_eq!(verifier.check(token, Purpose::Edge).await, Err(refusal));
    }
    assert_eq!(ward.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn v3_nobody_answers_and_it_goes_on_until_max_staleness_where_nothing_is_granted() {
    let issuer = Issuer::new(1);
    let (_ward, verifier) = stale(&issuer, unavailable()).await;
    let token = issuer.access();
    assert!(verifier.check(&token, Purpose::Edge).await.is_ok());
    assert!(verifier.check(&token, Purpose::TakeAway).await.is_ok());
    assert_eq!(verifier.check(&token, Purpose::Grant).await, Err(Refusal::Unavailable));
    assert!(verifier.status().readiness().is_ok());
    sleep(Duration::from_secs(280)).await;
    assert!(verifier.check(&token, Purpose::Edge).await.is_ok());
    sleep(Duration::from_secs(15)).await;
    for purpose in [Purpose::Edge, Purpose::Grant, Purpose::TakeAway] {
        assert_eq!(verifier.check(&token, purpose).await, Err(Refusal::Unavailable));
    }
    assert!(verifier.status().readiness().is_err() && Refusal::Unavailable.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn v3_past_max_staleness_an_answer_still_counts() {
    let issuer = Issuer::new(1);
    let (_ward, verifier) = stale(&issuer, Answer::Says(active(&issuer))).await;
    sleep(Duration::from_secs(600)).await;
    assert!(verifier.check(&issuer.access(), Purpose::Grant).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn v3_the_same_token_is_asked_about_once_at_a_time() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, Answer::Later(Duration::from_millis(100), active(&issuer))).await;
    let token = issuer.access();
    let answers = join_all((0..100).map(|_| verifier.check(&token, Purpose::Edge))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(ward.asked(), 1);
    verifier.check(&token, Purpose::Edge).await.unwrap();
    assert_eq!(ward.asked(), 2, "a later call gets an answer of its own");
}

#[tokio::test(start_paused = true)]
async fn v3_only_so_many_are_asked_about_at_once() {
    let issuer = Issuer::new(1);
    let config = Config { introspect_at_once: 8, ..Config::default() };
    let (ward, verifier) = stale_with(&issuer, Answer::Later(Duration::from_millis(10), active(&issuer)), config).await;
    let tokens: Vec<_> = (0..100).map(|number| issuer.access_with(|claims| claims["jti"] = number.to_string().into())).collect();
    let answers = join_all(tokens.iter().map(|token| verifier.check(token, Purpose::Grant))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((ward.asked(), ward.most_asking()), (100, 8));
}

#[tokio::test(start_paused = true)]
async fn v3_tokens_of_unknown_keys_do_not_crowd_out_genuine_ones() {
    let (issuer, stranger) = (Issuer::new(1), Issuer::new(2));
    let (ward, verifier) = stale(&issuer, Answer::Later(Duration::from_millis(500), active(&issuer))).await;
    let flood: Vec<_> = (0..1_000).map(|number| stranger.access_with(|claims| claims["jti"] = number.to_string().into())).collect();
    let good = issuer.access();
    let (flooded, checked) =
        tokio::join!(join_all(flood.iter().map(|token| verifier.check(token, Purpose::Edge))), verifier.check(&good, Purpose::Grant));
    assert!(checked.is_ok());
    assert_eq!(flooded.iter().filter(|answer| **answer == Err(Refusal::Unavailable)).count(), 992);
    assert_eq!(ward.asked(), 9);
}

#[tokio::test(start_paused = true)]
async fn v3_a_silent_service_keeps_nobody_waiting_but_the_first() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, Answer::Hangs).await;
    let tokens: Vec<_> = (0..50).map(|number| issuer.access_with(|claims| claims["jti"] = number.to_string().into())).collect();
    let begun = Instant::now();
    for token in &tokens {
        verifier.check(token, Purpose::Edge).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(1_100), "{:?}", begun.elapsed());
    assert_eq!(ward.asked(), 1);
    sleep(Duration::from_secs(1)).await;
    ward.answer(Answer::Says(inactive("session_revoked")));
    assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(Refusal::Revoked), "asked again before long");
}

#[tokio::test(start_paused = true)]
async fn v3_a_question_that_nobody_waits_for_is_forgotten() {
    let issuer = Issuer::new(1);
    let config = Config { introspect_at_once: 1, ..Config::default() };
    let (ward, verifier) = stale_with(&issuer, Answer::Hangs, config).await;
    let token = issuer.access();
    for _ in 0..10 {
        let gave_up = tokio::time::timeout(Duration::from_millis(10), verifier.check(&token, Purpose::Edge)).await;
        assert!(gave_up.is_err());
    }
    assert_eq!(ward.asked(), 10, "its permit came back each time");
    ward.answer(Answer::Says(active(&issuer)));
    assert!(verifier.check(&token, Purpose::Grant).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn v3_a_token_that_expires_while_asking_is_expired() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, Answer::Hangs).await;
    let soon = (ward.now_us() / 1_000_000) + 1;
    let token = issuer.access_with(|claims| claims["exp"] = soon.into());
    assert_eq!(verifier.check(&token, Purpose::Edge).await, Err(Refusal::Expired));
}

#[tokio::test(start_paused = true)]
async fn v3_fresh_again_it_judges_by_itself() {
    let issuer = Issuer::new(1);
    let (ward, verifier) = stale(&issuer, unavailable()).await;
    let mut statuses = verifier.subscribe();
    assert!(statuses.borrow_and_update().stale_since.is_some());
    ward.next_snapshot(|next| {
        *next = Some(snapshot(&[&issuer]));
        next.as_mut().unwrap().revocations = vec![revocation(2, SESSION, u64::MAX)];
        next.as_mut().unwrap().head = 2;
    });
    statuses.wait_for(|status| status.stale_since.is_none()).await.unwrap();
    assert_eq!(verifier.verify(&issuer.access()), Err(Refusal::Revoked));
    assert_eq!(ward.asked(), 0);
}
