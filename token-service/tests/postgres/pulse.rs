//! The pulse (T5) and leases (A5), with the database's own clock.

use std::{sync::Arc, time::Duration};

use carelink_database::{lease::Lease, trail::Noted};
use carelink_platform::{errors::Reason, random::Random};
use carelink_proto::token::{WatchRequest, watch_response::Message};
use token_service::{
    domain::session::EndReason,
    store::{self, Ending, Swept},
};
use uuid::Uuid;

use crate::{
    bench::{reason, subject},
    replicas::{Fleet, refresh},
};

#[tokio::test(flavor = "multi_thread")]
async fn t5_what_was_rotated_in_an_outage_or_shortly_before_has_its_grace_from_its_end() {
    let fleet = Fleet::of(1, |_| ()).await;
    let pulse = Lease::lasting("pulse", Duration::from_secs(2), &Random::system());
    let grace = Duration::from_secs(30);
    let begin = || async {
        let (first, id) = fleet.sign_in(0, subject(1, 1, &[])).await;
        let second = refresh(fleet.gateway(0), &first.refresh_token).await.unwrap();
        (first, second, Uuid::from_slice(&id).unwrap())
    };
    let rotated = |id: Uuid, before: u32| {
        fleet.sql(&format!("UPDATE session SET rotated_at = clock_timestamp() - interval '{before} s' WHERE id = '{id}'"))
    };
    let beaten = |before: u32| fleet.sql(&format!("UPDATE pulse SET beaten_at = clock_timestamp() - interval '{before} s'"));

    let (first, second, id) = begin().await;
    rotated(id, 44);
    beaten(40);
    assert_eq!(
        refresh(fleet.gateway(0), &first.refresh_token).await.unwrap().access_token,
        second.access_token,
        "it lasts: 4 s before its beginning"
    );
    let beat = store::beat(fleet.app(0).store(), &pulse, grace).await.unwrap().unwrap();
    assert!(beat.outage_began.is_some());
    assert_eq!(refresh(fleet.gateway(0), &first.refresh_token).await.unwrap().access_token, second.access_token, "it has just ended");
    assert!(store::beat(fleet.app(0).store(), &pulse, grace).await.unwrap().unwrap().outage_began.is_none(), "no gap");
    fleet.sql("UPDATE pulse SET outage_began = clock_timestamp() - interval '80 s', outage_ended = clock_timestamp() - interval '29 s'");
    rotated(id, 75);
    assert_eq!(refresh(fleet.gateway(0), &first.refresh_token).await.unwrap().access_token, second.access_token, "grace runs from its end");
    fleet.sql("UPDATE pulse SET outage_ended = clock_timestamp() - interval '31 s'");
    assert_eq!(refresh(fleet.gateway(0), &first.refresh_token).await, Err(Reason::SessionReused), "and no longer");

    let (first, _, id) = begin().await;
    fleet.sql("UPDATE pulse SET outage_began = clock_timestamp() - interval '40 s', outage_ended = clock_timestamp() - interval '5 s'");
    rotated(id, 46);
    assert_eq!(refresh(fleet.gateway(0), &first.refresh_token).await, Err(Reason::SessionReused), "6 s before its beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_an_outage_that_follows_close_upon_another_goes_on_with_it() {
    let fleet = Fleet::of(1, |_| ()).await;
    let pulse = Lease::lasting("pulse", Duration::from_secs(2), &Random::system());
    fleet.sql(
        "UPDATE pulse SET outage_began = clock_timestamp() - interval '90 s', outage_ended = clock_timestamp() - interval '50 s',
         beaten_at = clock_timestamp() - interval '45 s'",
    );
    let beat = store::beat(fleet.app(0).store(), &pulse, Duration::from_secs(30)).await.unwrap().unwrap();
    assert!(beat.at.since(beat.outage_began.unwrap()) >= Duration::from_secs(90));
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_whoever_was_paused_longer_than_the_lease_writes_no_pulse() {
    let fleet = Fleet::of(2, |_| ()).await;
    let random = Random::system();
    let [paused, other] = [0, 1].map(|_| Lease::lasting("pulse", Duration::from_secs(2), &random));
    let beat = async |at: usize, lease: &Lease| store::beat(fleet.app(at).store(), lease, Duration::ZERO).await.unwrap().is_some();
    assert!(beat(0, &paused).await);
    assert!(!beat(1, &other).await, "it is held");
    fleet.sql("UPDATE lease SET until = clock_timestamp() - interval '1 s' WHERE name = 'pulse'");
    assert!(beat(1, &other).await);
    assert!(!beat(0, &paused).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_no_pulse_no_stream_and_no_heartbeat() {
    let fleet = Fleet::of(1, |_| ()).await;
    fleet.sql("INSERT INTO lease (name, holder, epoch, until) VALUES ('pulse', gen_random_uuid(), 1, clock_timestamp() + interval '7 s')");
    let status = fleet.gateway(0).watch(WatchRequest {}).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (tonic::Code::Unavailable, Reason::Unready));
    fleet.sql("DELETE FROM lease");
    let mut stream = fleet.gateway(0).watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(snapshot)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    let beaten: i64 =
        fleet.sql("SELECT (extract(epoch FROM beaten_at) * 1000000)::bigint FROM pulse").lines().last().unwrap().parse().unwrap();
    assert_eq!(snapshot.time_us, beaten, "its time is the pulse's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_sweeper_whose_lease_has_gone_to_another_sweeps_nothing() {
    let fleet = Fleet::of(2, |_| ()).await;
    let (_, id) = fleet.sign_in(0, subject(1, 1, &[])).await;
    fleet.sql("UPDATE session SET ends_at = clock_timestamp() - interval '1 s'");
    let random = Random::system();
    let event = move |_, now| Noted { id: Random::system().uuid_v7(now), body: Vec::new() };
    let ending = Ending { reason: EndReason::Expired, event: Arc::new(event) };
    let [paused, other] = [0, 1].map(|_| Lease::new("sweep", &random));
    let stores = [fleet.app(0).store(), fleet.app(1).store()];
    let before = paused.acquire(&stores[0].db).await.unwrap().unwrap();
    fleet.sql("UPDATE lease SET until = clock_timestamp() - interval '1 s' WHERE name = 'sweep'");
    let now = other.acquire(&stores[1].db).await.unwrap().unwrap();
    assert_eq!(store::sweep(stores[0], &paused, before, ending.clone(), ending.clone()).await.unwrap(), Swept::default());
    let id = Uuid::from_slice(&id).unwrap();
    assert!(store::find_session(stores[0], id).await.unwrap().unwrap().session.ended.is_none());
    assert_eq!(store::sweep(stores[1], &other, now, ending.clone(), ending).await.unwrap(), Swept { ended: 1, more: false });
}
