//! Many token-services behind one channel: each connection may land on another one, which may be ahead, behind, or restored.

use std::time::Duration;

use carelink_proto::token::{Heartbeat, IntrospectResponse, Revocation, Snapshot, watch_response::Message};
use carelink_verifier::{Config, Purpose, Refusal, STALE_AFTER};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    issuer::{Issuer, SESSION, key_set, revocation, snapshot},
    service::{Answer, Ward, settle},
};

const ENDED: u64 = u64::MAX;

fn other(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn token_of(issuer: &Issuer, session: u128) -> String {
    issuer.access_with(|claims| claims["sid"] = other(session).to_string().into())
}

fn refused(reason: &str) -> Answer {
    Answer::Says(IntrospectResponse { reason: reason.into(), ..IntrospectResponse::default() })
}

#[tokio::test(start_paused = true)]
async fn v2_a_replica_that_is_behind_the_last_one_catches_up_without_a_gap() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.entries((1..=5).map(|number| revocation(number, other(number.into()), ENDED)).collect()).await;
    ward.go_away().await;
    ward.next_snapshot(|next| *next = Some(Snapshot { head: 3, ..snapshot(&[&issuer]) }));
    ward.connected(3).await;
    assert_eq!((verifier.status().head, verifier.status().stale_since), (3, None), "its count goes from where this replica is");
    for gone in 1..=5 {
        assert_eq!(verifier.verify(&token_of(&issuer, gone)), Err(Refusal::Revoked), "nothing is taken back");
    }
    ward.entries(vec![revocation(4, other(4), ENDED), revocation(5, other(5), ENDED)]).await;
    ward.entries(vec![revocation(6, other(6), ENDED)]).await;
    ward.beat(6, &[&issuer]).await;
    assert_eq!((verifier.status().head, verifier.status().revocations, verifier.status().stale_since), (6, 6, None));
}

#[tokio::test(start_paused = true)]
async fn v2_a_replica_that_is_ahead_tells_the_rest_in_its_snapshot() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.entries(vec![revocation(1, other(1), ENDED)]).await;
    ward.go_away().await;
    ward.next_snapshot(|next| {
        *next = Some(Snapshot { head: 9, revocations: vec![revocation(9, SESSION, ENDED)], ..snapshot(&[&issuer]) });
    });
    ward.connected(3).await;
    assert_eq!(verifier.verify(&issuer.access()), Err(Refusal::Revoked));
    assert!(verifier.caught_up(9, Duration::ZERO).await);
}

#[tokio::test(start_paused = true)]
async fn v2_a_restored_database_is_another_incarnation_and_what_was_revoked_stays_so() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let ward = Ward::new(&[&old]);
    ward.next_snapshot(|next| next.as_mut().unwrap().incarnation = vec![1]);
    let verifier = ward.verifier().await;
    ward.entries((1..=8).map(|number| revocation(number, other(number.into()), ENDED)).collect()).await;

    // Restored under the running stream: its numbers count from another past.
    let restored = Snapshot { head: 2, incarnation: vec![2], ..snapshot(&[&new]) };
    let beat = Heartbeat { head: 2, time_us: ward.now_us(), key_digest: key_set(&[&old]).digest, incarnation: vec![2] };
    ward.next_snapshot(|next| *next = None);
    ward.send(Message::Heartbeat(beat)).await;
    assert!(verifier.status().stale_since.is_some(), "what this stream told is of another life");

    ward.next_snapshot(|next| *next = Some(restored));
    sleep(Duration::from_secs(3)).await;
    assert_eq!((verifier.status().stale_since, verifier.status().head), (None, 2));
    assert!(!verifier.caught_up(3, Duration::ZERO).await, "number 3 is another revocation now");
    assert_eq!(verifier.verify(&old.access()), Err(Refusal::KeyUnknown));
    for gone in 1..=8 {
        assert_eq!(verifier.verify(&token_of(&new, gone)), Err(Refusal::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn v3_while_no_stream_is_open_an_unknown_key_is_a_question() {
    let (issuer, new) = (Issuer::new(1), Issuer::new(2));
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    assert_eq!(verifier.verify(&new.access()), Err(Refusal::KeyUnknown));
    ward.go_away().await;
    assert_eq!(verifier.status().stale_since, None, "not for long enough to be stale");
    assert_eq!(verifier.verify(&new.access()), Err(Refusal::Unavailable));
    assert_eq!(verifier.check(&new.access(), Purpose::Edge).await, Err(Refusal::Unavailable));
    assert!(verifier.verify(&issuer.access()).is_ok());
    sleep(Duration::from_millis(1_500)).await;
    ward.answer(refused("token_invalid"));
    assert_eq!(verifier.check(&new.access(), Purpose::Edge).await, Err(Refusal::Inactive));
}

#[tokio::test(start_paused = true)]
async fn v3_a_snapshot_without_a_living_pulse_makes_nobody_fresh() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat_for(3, 0, &[&issuer]).await;
    // A database that can be read and not written: its last pulse is all it has to tell.
    let pulse = ward.now_us();
    ward.stop_clock_at(pulse);
    ward.beat_for(12, 0, &[&issuer]).await;
    assert!(ward.connections() > 1, "it looked elsewhere");
    assert!(verifier.status().stale_since.is_some());
    assert_eq!(verifier.check(&issuer.access(), Purpose::Grant).await, Err(Refusal::Unavailable));
    ward.let_clock_run();
    ward.beat(0, &[&issuer]).await;
    sleep(Duration::from_secs(3)).await;
    ward.beat(0, &[&issuer]).await;
    assert_eq!(verifier.status().stale_since, None);
}

#[tokio::test(start_paused = true)]
async fn t5_heartbeats_that_repeat_an_old_pulse_do_not_keep_it_fresh() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat_for(3, 0, &[&issuer]).await;
    let (pulse, begun) = (ward.now_us(), Instant::now());
    while verifier.status().stale_since.is_none() {
        sleep(Duration::from_millis(250)).await;
        ward.beat_at(0, &[&issuer], pulse).await;
    }
    assert!(begun.elapsed() < STALE_AFTER + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn v3_with_the_stream_cut_a_revocation_is_obeyed_within_the_stated_bound() {
    for silent in [false, true] {
        let issuer = Issuer::new(1);
        let ward = Ward::new(&[&issuer]);
        let verifier = ward.verifier().await;
        ward.beat_for(3, 0, &[&issuer]).await;
        // Revoked a moment after the last heartbeat; questions are answered.
        if silent {
            ward.fall_silent().await;
        } else {
            ward.go_away().await;
        }
        ward.answer(refused("session_revoked"));
        let revoked = Instant::now();
        while verifier.check(&issuer.access(), Purpose::Edge).await.is_ok() {
            assert!(revoked.elapsed() <= STALE_AFTER, "accepted {:?} after it was revoked", revoked.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(Refusal::Revoked));
        assert!(revoked.elapsed() > STALE_AFTER / 2, "a short break goes unnoticed");
    }
}

#[tokio::test(start_paused = true)]
async fn v3_heartbeats_that_are_held_up_do_not_stretch_the_bound() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat_for(5, 0, &[&issuer]).await;
    // Read before the revocation, and let through one by one as late as may be.
    let (sent, revoked) = (ward.now_us(), Instant::now());
    ward.answer(refused("session_revoked"));
    ward.fall_silent().await;
    while verifier.check(&issuer.access(), Purpose::Edge).await.is_ok() {
        assert!(revoked.elapsed() <= STALE_AFTER + Duration::from_millis(100), "{:?}", revoked.elapsed());
        sleep(Duration::from_millis(100)).await;
        if ward.connections() == 1 {
            ward.beat_at(0, &[&issuer], sent).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn v3_in_total_silence_the_bound_is_max_staleness_and_where_something_is_granted_five_seconds() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier_with(Config { max_staleness: Duration::from_secs(60), ..Config::default() }).await;
    ward.beat_for(2, 0, &[&issuer]).await;
    ward.fall_silent().await;
    ward.answer(Answer::Hangs);
    let cut = Instant::now();
    let (mut edge, mut grant) = (Duration::ZERO, Duration::ZERO);
    while cut.elapsed() < Duration::from_secs(70) {
        if verifier.check(&issuer.access(), Purpose::Edge).await.is_ok() {
            edge = cut.elapsed();
        }
        if verifier.check(&issuer.access(), Purpose::Grant).await.is_ok() {
            grant = cut.elapsed();
        }
        sleep(Duration::from_millis(500)).await;
    }
    let second = Duration::from_secs(1);
    assert!((57 * second..=61 * second).contains(&edge), "{edge:?}"); // a question takes a second
    assert!((4 * second..=STALE_AFTER).contains(&grant), "{grant:?}");
}

#[tokio::test(start_paused = true)]
async fn k1_a_rotation_refuses_nobody_on_whichever_replica_it_lands() {
    let (old, next, later) = (Issuer::new(1), Issuer::new(2), Issuer::new(3));
    let ward = Ward::new(&[&old, &next]);
    let verifier = ward.verifier().await;
    let accepts = |token: String| verifier.verify(&token).is_ok();
    assert!(accepts(old.access()) && accepts(next.access()), "published before it signs");
    ward.send(Message::Keys(key_set(&[&old, &next, &later]))).await;
    ward.beat(0, &[&old, &next, &later]).await;
    assert!(accepts(old.access()) && accepts(next.access()) && accepts(later.access()));
    // Another replica that has not looked yet: what it lacks signs nothing yet.
    ward.go_away().await;
    ward.next_snapshot(|set| *set = Some(snapshot(&[&old, &next])));
    ward.connected(3).await;
    ward.beat(0, &[&old, &next]).await;
    assert!(accepts(old.access()) && accepts(next.access()));
    assert_eq!(verifier.status().stale_since, None);
}

#[test]
fn v1_the_delay_of_a_revocation_is_measured() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let exported = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let issuer = Issuer::new(1);
            let ward = Ward::new(&[&issuer]);
            let _verifier = ward.verifier().await;
            let revoked_us = ward.now_us() - 20_000;
            ward.entries(vec![Revocation { revoked_us, ..revocation(1, SESSION, ENDED) }, revocation(2, other(2), ENDED)]).await;
            settle().await;
        });
    });
    let text = exported.render();
    assert!(text.contains(r#"carelink_verifier_revocation_seconds_count{service="verifier"} 1"#), "{text}");
    assert!(text.contains(r#"carelink_verifier_revocation_seconds_sum{service="verifier"} 0.02"#), "{text}");
    assert!(text.contains(r#"carelink_verifier_revocations_total{service="verifier"} 2"#), "{text}");
    for name in ["lag_seconds", "stale", "head", "ready"] {
        assert!(text.contains(&format!("carelink_verifier_{name}{{service=\"verifier\"}}")), "{name}");
    }
}
