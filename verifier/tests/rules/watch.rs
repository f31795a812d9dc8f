//! Following the stream (V2), and every way in which it may not fit.

use std::time::Duration;

use carelink_proto::token::{Entries, Heartbeat, KeySet, Snapshot, watch_response::Message};
use carelink_verifier::{Config, Purpose, Refusal, Verifier};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    issuer::{Issuer, SESSION, key_set, revocation, snapshot},
    service::{Ward, settle},
};

const ENDED: u64 = u64::MAX;

fn other(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[tokio::test(start_paused = true)]
async fn v2_a_snapshot_makes_ready_and_entries_refuse_at_once() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    ward.next_snapshot(|snapshot| {
        let snapshot = snapshot.as_mut().unwrap();
        snapshot.head = 7;
        snapshot.revocations = vec![revocation(7, other(7), ENDED)];
    });
    let verifier = ward.verifier().await;
    let (token, gone) = (issuer.access(), issuer.access_with(|claims| claims["sid"] = other(7).to_string().into()));
    assert!(verifier.verify(&token).is_ok());
    assert_eq!(verifier.verify(&gone), Err(Refusal::Revoked));

    ward.entries(vec![revocation(8, other(8), ENDED), revocation(9, SESSION, 3)]).await;
    assert_eq!(verifier.verify(&token), Err(Refusal::Revoked), "a remembered signature is no pass (V4)");
    assert!(verifier.verify(&issuer.access_with(|claims| claims["gen"] = 4.into())).is_ok());
    let status = verifier.status();
    assert_eq!((status.head, status.revocations, status.keys, status.ready, status.stale_since), (9, 3, 1, true, None));
    assert!(status.readiness().is_ok());
}

#[tokio::test(start_paused = true)]
async fn v2_whoever_ended_a_session_can_wait_until_it_is_known() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    assert!(verifier.caught_up(0, Duration::ZERO).await);
    assert!(!verifier.caught_up(1, Duration::from_millis(100)).await);
    let waiting = tokio::spawn({
        let verifier = verifier.clone();
        async move { verifier.caught_up(1, Duration::from_secs(1)).await }
    });
    settle().await;
    ward.entries(vec![revocation(1, SESSION, ENDED)]).await;
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn v2_a_gap_is_stale_at_once_and_ends_with_a_whole_snapshot() {
    let issuer = Issuer::new(1);
    let gaps: [fn() -> Message; 3] = [
        || Message::Entries(Entries { revocations: vec![revocation(2, SESSION, ENDED)], head: 2, time_us: 0 }),
        || Message::Entries(Entries { revocations: vec![revocation(1, SESSION, ENDED)], head: 2, time_us: 0 }),
        || Message::Heartbeat(Heartbeat { head: 1, time_us: 1, ..Heartbeat::default() }),
    ];
    for gap in gaps {
        let ward = Ward::new(&[&issuer]);
        let verifier = ward.verifier().await;
        ward.next_snapshot(|snapshot| *snapshot = None);
        ward.send(gap()).await;
        assert!(verifier.status().stale_since.is_some());
        assert_eq!(verifier.verify(&issuer.access_with(|claims| claims["sid"] = other(5).to_string().into())), Err(Refusal::Unavailable));

        ward.next_snapshot(|next| {
            *next = Some(snapshot(&[&issuer]));
            next.as_mut().unwrap().head = 2;
        });
        sleep(Duration::from_secs(3)).await;
        assert_eq!((verifier.status().stale_since, verifier.status().head), (None, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn v2_an_entry_already_known_does_no_harm() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.entries(vec![revocation(1, other(1), ENDED)]).await;
    ward.entries(vec![revocation(1, other(1), ENDED), revocation(2, other(2), ENDED)]).await;
    ward.beat(1, &[&issuer]).await; // read before entry 2 was pushed
    assert_eq!((verifier.status().head, verifier.status().stale_since, ward.connections()), (2, None, 1));
}

#[tokio::test(start_paused = true)]
async fn v2_each_connection_unites_revocations_and_replaces_keys() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let ward = Ward::new(&[&old]);
    let verifier = ward.verifier().await;
    ward.entries(vec![revocation(1, other(1), ENDED)]).await;
    assert!(verifier.verify(&old.access()).is_ok());

    // A restored service knows less: what was revoked stays revoked, its keys are all there are.
    ward.go_away().await;
    ward.next_snapshot(|next| {
        *next = Some(snapshot(&[&new]));
        next.as_mut().unwrap().revocations = vec![revocation(1, other(2), ENDED)];
        next.as_mut().unwrap().head = 1;
    });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(verifier.verify(&old.access()), Err(Refusal::KeyUnknown), "remembered under a key that is gone");
    for gone in [1, 2] {
        let token = new.access_with(|claims| claims["sid"] = other(gone).to_string().into());
        assert_eq!(verifier.verify(&token), Err(Refusal::Revoked));
    }
    assert!(verifier.verify(&new.access()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn v4_a_withdrawn_kid_empties_the_cache() {
    let (stays, goes, comes) = (Issuer::new(1), Issuer::new(2), Issuer::new(3));
    let ward = Ward::new(&[&stays, &goes]);
    let verifier = ward.verifier().await;
    assert!(verifier.verify(&goes.access()).is_ok());
    ward.send(Message::Keys(key_set(&[&stays, &goes, &comes]))).await;
    assert!(verifier.verify(&goes.access()).is_ok() && verifier.verify(&comes.access()).is_ok());
    ward.send(Message::Keys(key_set(&[&stays, &comes]))).await;
    assert_eq!(verifier.verify(&goes.access()), Err(Refusal::KeyUnknown));
    assert!(verifier.verify(&stays.access()).is_ok());
    let jwks = String::from_utf8(verifier.jwks().unwrap().to_vec()).unwrap();
    assert!(jwks.contains(&stays.kid) && jwks.contains(&comes.kid) && !jwks.contains(&goes.kid), "K2: {jwks}");
}

#[tokio::test(start_paused = true)]
async fn v3_a_heartbeat_over_another_key_set_is_stale_at_once() {
    let (issuer, new) = (Issuer::new(1), Issuer::new(2));
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.next_snapshot(|snapshot| *snapshot = None);
    ward.beat(0, &[&issuer, &new]).await;
    assert!(verifier.status().stale_since.is_some());
    assert_eq!(verifier.check(&new.access(), Purpose::Edge).await, Err(Refusal::Unavailable), "its key may be the one we miss");
    ward.next_snapshot(|next| *next = Some(snapshot(&[&issuer, &new])));
    sleep(Duration::from_secs(3)).await;
    assert!(verifier.verify(&new.access()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn v3_no_snapshot_is_not_ready_and_blames_no_token() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    ward.go_away().await;
    let verifier = Verifier::start(Config::default(), ward.channel());
    sleep(Duration::from_secs(1)).await;
    let status = verifier.status();
    assert!(!status.ready && !status.usable && status.lag().is_none() && status.readiness().is_err());
    assert_eq!(verifier.jwks(), None, "K2: never an empty one");
    for purpose in [Purpose::Edge, Purpose::Grant, Purpose::TakeAway] {
        assert_eq!(verifier.check(&issuer.access(), purpose).await, Err(Refusal::Unavailable));
    }
    assert_eq!(verifier.verify("a.b"), Err(Refusal::Malformed), "what is no token needs no keys");
    ward.next_snapshot(|next| *next = Some(snapshot(&[&issuer])));
    verifier.ready().await;
    assert!(verifier.verify(&issuer.access()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn v3_five_seconds_of_silence_are_stale_and_a_new_connection_is_tried() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat_for(20, 0, &[&issuer]).await;
    assert_eq!((verifier.status().stale_since, ward.connections()), (None, 1));
    ward.fall_silent().await;
    sleep(Duration::from_millis(4_900)).await;
    assert!(verifier.verify(&issuer.access()).is_ok());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(verifier.verify(&issuer.access()), Err(Refusal::Unavailable));
    assert!(verifier.status().stale_since.is_some() && ward.connections() > 1);
}

#[tokio::test(start_paused = true)]
async fn v3_entries_without_heartbeats_do_not_keep_it_fresh() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.fall_silent().await;
    for number in 1..=5 {
        sleep(Duration::from_secs(1)).await;
        if ward.connections() == 1 {
            ward.entries(vec![revocation(number, other(number.into()), ENDED)]).await;
        }
    }
    settle().await;
    assert!(verifier.status().stale_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn v3_a_short_break_goes_unnoticed() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat(0, &[&issuer]).await;
    ward.go_away().await;
    for _ in 0..40 {
        assert!(verifier.verify(&issuer.access()).is_ok());
        sleep(Duration::from_millis(50)).await;
    }
    ward.next_snapshot(|next| *next = Some(snapshot(&[&issuer])));
    for _ in 0..60 {
        assert!(verifier.verify(&issuer.access()).is_ok());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn v3_a_full_set_is_stale_until_all_fit() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier_with(Config { max_revocations: 2, ..Config::default() }).await;
    ward.entries(vec![revocation(1, other(1), ENDED), revocation(2, other(2), ENDED)]).await;
    assert_eq!(verifier.status().stale_since, None);
    ward.entries(vec![revocation(3, other(3), ENDED)]).await;
    assert!(verifier.status().stale_since.is_some());
    assert_eq!((verifier.status().head, verifier.status().revocations), (2, 2));
    for held in [1, 2] {
        let token = issuer.access_with(|claims| claims["sid"] = other(held).to_string().into());
        assert_eq!(verifier.verify(&token), Err(Refusal::Revoked), "nothing was dropped");
    }
    let missed = issuer.access_with(|claims| claims["sid"] = other(3).to_string().into());
    assert_eq!(verifier.verify(&missed), Err(Refusal::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn v2_whatever_the_contract_does_not_say_is_not_believed() {
    let issuer = Issuer::new(1);
    let mut cut = revocation(1, SESSION, ENDED);
    cut.session.pop();
    let nonsense = [
        Message::Snapshot(snapshot(&[&issuer])),
        Message::Keys(KeySet::default()),
        Message::Entries(Entries { revocations: vec![cut], head: 1, time_us: 0 }),
        Message::Heartbeat(Heartbeat { head: 0, key_digest: key_set(&[&issuer]).digest, ..Heartbeat::default() }),
        Message::Heartbeat(Heartbeat { head: 0, time_us: i64::MIN, key_digest: key_set(&[&issuer]).digest, ..Heartbeat::default() }),
    ];
    for message in nonsense {
        let ward = Ward::new(&[&issuer]);
        let verifier = ward.verifier().await;
        ward.next_snapshot(|snapshot| *snapshot = None);
        ward.send(message.clone()).await;
        assert!(verifier.status().stale_since.is_some(), "{message:?}");
        assert!(verifier.jwks().is_some(), "the keys it had are still there");
    }
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.next_snapshot(|snapshot| *snapshot = None);
    ward.send_empty().await;
    assert!(verifier.status().stale_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn v2_a_snapshot_without_a_usable_key_or_time_does_not_make_ready() {
    let issuer = Issuer::new(1);
    let spoils: [fn(&mut Snapshot); 2] = [|next| next.keys = None, |next| next.time_us = 0];
    for spoil in spoils {
        let ward = Ward::new(&[&issuer]);
        ward.next_snapshot(|next| spoil(next.as_mut().unwrap()));
        let verifier = Verifier::start(Config::default(), ward.channel());
        ward.connected(2).await;
        assert!(!verifier.status().ready);
    }
}

#[tokio::test(start_paused = true)]
async fn v2_a_service_that_is_away_is_not_hammered() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    ward.go_away().await;
    let _verifier = Verifier::start(Config::default(), ward.channel());
    sleep(Duration::from_secs(60)).await;
    assert!((30..80).contains(&ward.connections()), "{}", ward.connections());
}

#[tokio::test(start_paused = true)]
async fn v2_a_heartbeat_that_never_fits_does_not_make_it_spin() {
    let (issuer, new) = (Issuer::new(1), Issuer::new(2));
    let ward = Ward::new(&[&issuer]);
    let _verifier = ward.verifier().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        ward.beat(0, &[&new]).await;
    }
    assert!(ward.connections() < 80, "{}", ward.connections());
}

#[tokio::test(start_paused = true)]
async fn v2_the_watch_ends_with_the_last_verifier() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    let clone = verifier.clone();
    drop(verifier);
    settle().await;
    assert!(!ward.is_deserted() && clone.verify(&issuer.access()).is_ok());
    drop(clone);
    settle().await;
    assert!(ward.is_deserted());
}

#[tokio::test(start_paused = true)]
async fn v1_what_is_over_leaves_the_set() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.entries((1..=100).map(|number| revocation(number, other(number.into()), ENDED)).collect()).await;
    assert_eq!(verifier.status().revocations, 100);
    ward.beat_for(70, 100, &[&issuer]).await;
    assert_eq!(verifier.status().revocations, 100);
    for _ in 0..5 {
        ward.beat_at(100, &[&issuer], ward.now_us() + 4 * 3_600 * 1_000_000).await;
    }
    for _ in 0..70 {
        sleep(Duration::from_secs(1)).await;
        ward.beat_at(100, &[&issuer], ward.now_us() + 4 * 3_600 * 1_000_000).await;
    }
    assert_eq!((verifier.status().revocations, verifier.status().head), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn t2_heartbeats_carry_the_databases_time_whatever_ours_is() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    let token = issuer.access();
    ward.beat_at(0, &[&issuer], ward.now_us() + 899 * 1_000_000).await;
    assert_eq!(verifier.verify(&token).map(|_| ()), Ok(()));
    ward.beat_at(0, &[&issuer], ward.now_us() + 900 * 1_000_000).await;
    assert_eq!(verifier.verify(&token), Err(Refusal::Expired));
    ward.beat(0, &[&issuer]).await; // the clock was set back: followed by a new snapshot
    ward.connected(2).await;
    assert!(verifier.verify(&token).is_ok());
    assert_eq!(verifier.status().stale_since, None);
}

#[tokio::test(start_paused = true)]
async fn v3_heartbeats_that_are_old_when_they_come_do_not_keep_it_fresh() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    ward.beat_for(3, 0, &[&issuer]).await;
    ward.fall_silent().await; // whoever holds the stream back lets no new one through
    for _ in 0..6 {
        sleep(Duration::from_secs(1)).await;
        if ward.connections() == 1 {
            ward.beat_at(0, &[&issuer], ward.now_us() - 6_000_000).await;
        }
    }
    assert!(ward.connections() > 1 && verifier.status().stale_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn k1_a_heartbeat_without_a_digest_vouches_for_nothing() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    ward.next_snapshot(|snapshot| snapshot.as_mut().unwrap().keys.as_mut().unwrap().digest.clear());
    let verifier = ward.verifier().await;
    ward.next_snapshot(|snapshot| *snapshot = None);
    ward.send(Message::Heartbeat(Heartbeat { head: 0, time_us: ward.now_us(), ..Heartbeat::default() })).await;
    assert!(verifier.status().stale_since.is_some());
}
