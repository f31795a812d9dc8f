//! Many at once: tabs that refresh together, and somebody who ends the session meanwhile (S3, S5).

use std::collections::HashSet;

use carelink_platform::grpc::{Channel, connect_unix};
use carelink_proto::token::{RevokeSessionsRequest, revoke_sessions_request::Target, token_service_client::TokenServiceClient};
use carelink_tests::{Answer, Carelink, PASSWORD, Pair, Person};
use futures::future::{join, join_all};
use serde_json::json;
use uuid::Uuid;

use crate::rounds;

const TABS: usize = 20;

/// Who ends the session while the tabs refresh.
enum Ender<'a> {
    Client,
    /// Over the socket, as the command line does.
    Operator(&'a TokenServiceClient<Channel>),
}

async fn end(amina: &Person<'_>, ender: Ender<'_>) {
    match ender {
        Ender::Client => {
            // Whichever token of the session it is, the session is over afterwards; which answer comes depends on the race (S9).
            let answer = amina.sign_out().await;
            assert!(answer.status == 200 || answer.text().contains("Token is blacklisted"), "{}", answer.text());
        }
        Ender::Operator(token) => {
            let session = Uuid::parse_str(&amina.held().session()).unwrap().as_bytes().to_vec();
            let request = RevokeSessionsRequest { target: Some(Target::Session(session)), reason: "a race".into() };
            assert_eq!(token.clone().revoke_sessions(request).await.unwrap().into_inner().ended, 1);
        }
    }
}

/// Exactly one pair came back, the same for everybody.
#[track_caller]
fn assert_one_successor(tabs: &[Result<Pair, Answer>]) -> Pair {
    let pairs: HashSet<_> = tabs.iter().map(|tab| tab.as_ref().unwrap_or_else(|answer| panic!("signed out: {}", answer.text()))).collect();
    assert_eq!(pairs.len(), 1, "{TABS} tabs, one successor");
    pairs.into_iter().next().unwrap().clone()
}

#[tokio::test]
async fn s3_twenty_tabs_that_refresh_at_once_get_one_successor() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let operator = TokenServiceClient::new(connect_unix(&ward.data().join("control.sock"), None).await.unwrap());
    let (mut held, mut in_the_middle) = (amina.held(), 0);
    for round in 1..=rounds(1_000) {
        if round % 10 == 0 {
            let ender = if round % 20 == 0 { Ender::Operator(&operator) } else { Ender::Client };
            let (tabs, ()) = join(join_all((0..TABS).map(|_| amina.refresh())), end(&amina, ender)).await;
            let pairs: HashSet<_> = tabs.iter().filter_map(|tab| tab.as_ref().ok()).collect();
            assert!(pairs.len() <= 1, "round {round}: {} successors", pairs.len());
            in_the_middle += usize::from(tabs.iter().any(Result::is_ok) && tabs.iter().any(Result::is_err));
            for refused in tabs.iter().filter_map(|tab| tab.as_ref().err()) {
                assert_eq!((refused.status, refused.json()["detail"].clone()), (401, json!("Token is blacklisted")), "round {round}");
            }
            for pair in pairs.into_iter().chain([&held]) {
                Person::holding(&ward, "amina21", pair.clone()).is_out_at_once().await;
            }
            assert_eq!(amina.refresh().await.unwrap_err().status, 401, "round {round}");
            let again = ward.sign_in("amina21", PASSWORD).await;
            amina.hold(&again.held());
        } else {
            let successor = assert_one_successor(&join_all((0..TABS).map(|_| amina.refresh())).await);
            assert_eq!(successor.generation(), held.generation() + 1, "round {round}");
            assert_eq!(successor.session(), held.session());
        }
        held = amina.held();
    }
    amina.is_in().await;
    println!("of {} endings, {in_the_middle} came in the middle of the tabs", rounds(1_000) / 10);
    assert!(in_the_middle > 0, "nothing raced");
}

#[tokio::test]
async fn s3_an_old_token_ends_the_session_and_its_successor_too() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let stolen = amina.held();
    amina.stays().await;
    amina.stays().await;
    let thief = Person::holding(&ward, "thief", stolen);
    let refused = thief.refresh().await.unwrap_err();
    assert_eq!((refused.status, refused.json()), (401, json!({"detail": "Token is blacklisted", "code": "token_not_valid"})));
    amina.is_out_at_once().await;
    assert_eq!(amina.refresh().await.unwrap_err().status, 401);
    let events = ward.whole_trail(&["--session", &amina.held().session()]).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind()).collect();
    assert!(kinds.contains(&"session.reuse_detected"), "{kinds:?}");
}

#[tokio::test]
async fn s9_signing_out_with_an_older_token_ends_the_session_and_says_so() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let old = Person::holding(&ward, "amina21", amina.held());
    amina.stays().await;
    amina.stays().await;
    assert_eq!(old.verify().await.status, 200, "verifying never triggers reuse");
    let answer = old.sign_out().await;
    assert_eq!((answer.status, answer.json()["detail"].clone()), (401, json!("Token is blacklisted")));
    amina.is_out_at_once().await;
}
