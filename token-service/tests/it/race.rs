//! The race itself: many refreshes of one token at once, and a revoke among them.

use carelink_platform::errors::Reason;
use carelink_proto::token::{RevokeSessionsRequest, revoke_sessions_request::Target};
use carelink_servers::Engine;
use token_service::store;
use uuid::Uuid;

use crate::{
    ENGINE,
    bench::{Bench, bench, types},
};

const RACERS: usize = 20;
/// A round takes PostgreSQL longer; replicas race there, too (see replicas.rs).
const ROUNDS: usize = if matches!(ENGINE, Engine::Postgres) { 100 } else { 1_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_a_thousand_races_of_twenty_give_one_successor_each_or_a_revoked_session() {
    let bench = std::sync::Arc::new(bench().await);
    let operator = bench.operator();
    let (mut pair, mut session) = bench.sign_in(Bench::subject(1, 1, &["nurse"])).await;
    let (mut sessions, mut cut_short) = (vec![session.clone()], 0);
    for round in 0..ROUNDS {
        let mut racers = Vec::new();
        let mut revoking = None;
        for racer in 0..RACERS {
            if round % 10 == 9 && racer == round / 10 % RACERS {
                let target = Some(Target::Session(session.clone()));
                let mut operator = operator.clone();
                revoking = Some(tokio::spawn(async move {
                    operator.revoke_sessions(RevokeSessionsRequest { target, reason: "a race".into() }).await.unwrap().into_inner().ended
                }));
            }
            let (bench, token) = (std::sync::Arc::clone(&bench), pair.refresh_token.clone());
            racers.push(tokio::spawn(async move { bench.refresh(&token).await }));
        }
        let mut successor = None;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(got) => assert_eq!(*successor.get_or_insert_with(|| got.clone()), got, "one successor"),
                Err(reason) => {
                    assert_eq!((reason, revoking.is_some()), (Reason::SessionRevoked, true));
                    cut_short += 1;
                }
            }
        }
        match revoking {
            None => pair = successor.expect("a successor"),
            Some(revoking) => {
                assert_eq!(revoking.await.unwrap(), 1);
                assert_eq!(bench.refresh(&successor.unwrap_or(pair).refresh_token).await, Err(Reason::SessionRevoked));
                (pair, session) = bench.sign_in(Bench::subject(1, 1, &["nurse"])).await;
                sessions.push(session.clone());
            }
        }
    }
    assert!(cut_short > 0, "no revoke ever came in between");
    for session in sessions {
        let id = Uuid::from_slice(&session).unwrap();
        let row = store::find_session(bench.app.store(), id).await.unwrap().unwrap().session;
        let events = bench.events_of(id).await; // counted without gaps or doubles
        let refreshed = events.iter().filter(|event| event.r#type == "session.refreshed");
        let generations: Vec<u64> = refreshed.map(|event| event.details["generation"].parse().unwrap()).collect();
        assert_eq!(generations, (0..row.generation).collect::<Vec<_>>(), "each generation moved once");
        assert!(
            types(&events).iter().all(|kind| ["session.started", "session.refreshed", "session.replayed", "session.ended"].contains(kind))
        );
        assert_eq!(types(&events).iter().filter(|kind| **kind == "session.ended").count(), usize::from(row.ended.is_some()));
    }
}
