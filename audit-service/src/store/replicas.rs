//! The trail on PostgreSQL: what several replicas do to it at once, what its role may not do, how its texts are planned.

use std::collections::{BTreeMap, HashSet};

use carelink_database::Db;
use carelink_platform::{
    clock::Timestamp,
    events::{EventBuilder, EventType},
    random::Random,
};
use carelink_proto::audit::{Event, Outcome};
use carelink_servers::{Engine, TestDatabase};
use prost::Message;
use uuid::Uuid;

use super::{append, list_events};
use crate::{
    domain::{
        append::Record,
        list_events::{Filter, Kind},
    },
    places::{open, place},
};

const EVENTS: u64 = 3_000;
const SESSIONS: u64 = 7;

fn record(number: u64) -> Record {
    let event = EventBuilder::new("token", EventType::SessionRefreshed, Uuid::from_u128(number.into()), Timestamp::from_secs(5));
    let mut event = event.session(Uuid::from_u128((number % SESSIONS).into())).build();
    event.session_counter = number / SESSIONS;
    Record::read(event.encode_to_vec(), "token-service")
}

/// As a relay does: from the first that is not acknowledged, in order, batch by batch, now and then one twice.
async fn relay(db: Db, random: Random) -> u32 {
    let (mut acknowledged, mut stored) = (0, 0);
    while acknowledged < EVENTS {
        let [size, back] = random.bytes();
        let from = acknowledged.saturating_sub(u64::from(back % 50));
        let to = EVENTS.min(acknowledged + 1 + u64::from(size));
        stored += append(&db, (from..to).map(record).collect()).await.unwrap().stored;
        acknowledged = to;
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_overlapping_batches_of_two_replicas_leave_no_gap_nothing_twice_and_each_session_in_order() {
    let place = place(Engine::Postgres).await;
    let mut relays = Vec::new();
    for seed in 0..2 {
        let replica = open(&place).await;
        relays.extend((0..2).map(|more| tokio::spawn(relay(replica.clone(), Random::seeded(seed * 2 + more)))));
    }
    let mut stored = 0;
    for relay in relays {
        stored += relay.await.unwrap();
    }
    assert_eq!(u64::from(stored), EVENTS);
    let everything = Filter {
        user: None,
        kind: Kind::Any,
        outcome: Outcome::Unspecified,
        session: None,
        trace_id: None,
        actor: None,
        wrong_producer: false,
        since: None,
        until: None,
    };
    let found = list_events(&open(&place).await, &everything, u64::MAX, u32::MAX).await.unwrap();
    assert!(found.iter().rev().map(|event| event.position).eq(1..=EVENTS));
    let events: Vec<Event> = found.iter().rev().map(|event| Event::decode(event.body.as_slice()).unwrap()).collect();
    assert_eq!(events.iter().map(|event| &event.id).collect::<HashSet<_>>().len(), events.len());
    let mut counters: BTreeMap<&[u8], u64> = BTreeMap::new();
    for event in &events {
        let expected = counters.entry(&event.session).or_default();
        assert_eq!(event.session_counter, *expected);
        *expected += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_role_can_add_to_the_trail_and_nothing_else() {
    let place = place(Engine::Postgres).await;
    append(&open(&place).await, vec![record(1)]).await.unwrap();
    let database = place.database().unwrap();
    for sql in [
        "UPDATE events SET kind = 'x'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DROP TABLE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TRIGGER events_do_not_change ON events",
        "DELETE FROM zones",
        "DELETE FROM trail_head",
        "TRUNCATE zones, trail_head, sealing_keys",
        "UPDATE sealing_keys SET key_id = 'x'",
        "CREATE TABLE more (one integer)",
        "SELECT * FROM carelink_auth.users",
        "SET ROLE carelink_audit_owner",
    ] {
        let refused = database.sql_as("carelink_audit", sql).unwrap_err();
        assert!(refused.contains("permission denied") || refused.contains("must be owner"), "{sql}: {refused}");
    }
    assert_eq!(database.sql_as("carelink_audit", "SELECT count(*) FROM events").unwrap().trim(), "1");
}

/// Whoever lists must not walk the trail: every text finds its rows by an index, zone by zone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_walks_the_whole_trail() {
    macro_rules! text {
        ($name:literal, $lead:literal) => {
            (
                $name,
                concat!(include_str!("sql/list_events.postgres.sql"), include_str!(concat!("sql/list_events_", $name, ".postgres.sql"))),
                $lead,
            )
        };
    }
    let place = place(Engine::Postgres).await;
    let database = place.database().unwrap();
    database.sql(
        "INSERT INTO carelink_audit.events (position, zone, id, time, received, kind, outcome, subject, session, session_counter, trace_id, body,
                                             wrong_producer, actor)
         SELECT p, p / 4096, gen_random_uuid(), to_timestamp(p), now(), CASE WHEN p % 9 = 0 THEN 'sign_in.failed' ELSE 'session.refreshed' END,
                CASE WHEN p % 9 = 0 THEN 2 ELSE 1 END, gen_random_uuid(), gen_random_uuid(), 0, decode(md5(p::text), 'hex'), 'body',
                p % 97 = 0, CASE WHEN p % 89 = 0 THEN 'cert:' || p ELSE NULL END
         FROM generate_series(1, 60000) p;
         INSERT INTO carelink_audit.zones SELECT zone, min(time), max(time) FROM carelink_audit.events GROUP BY zone;
         INSERT INTO carelink_audit.zones SELECT zone, now(), now() FROM generate_series(100, 400) zone; -- a trail of a million
         ANALYZE carelink_audit.events, carelink_audit.zones",
    );
    for (name, text, lead) in [
        text!("all", ""),
        text!("failed", ""),
        text!("by_kind", ""),
        text!("by_user", ", uuid"),
        text!("by_session", ", uuid"),
        text!("by_trace", ", bytea"),
        text!("by_actor", ", text"),
        text!("misattributed", ""),
    ] {
        let plan = plan(database, text, lead);
        assert!(!plan.contains("Seq Scan on events"), "{name}: {plan}");
        assert!(plan.contains("Incremental Sort") && plan.contains("Presorted Key: zones.zone"), "{name}: {plan}");
        let index = match name.strip_prefix("by_").unwrap_or(name) {
            "all" => "events_pkey",
            "user" => "events_subject",
            "misattributed" => "events_wrong_producer",
            index => &format!("events_{index}"),
        };
        assert!(plan.contains(index), "{name}: {plan}");
    }
    let known = plan_of(database, "uuid[]", include_str!("sql/known.postgres.sql"), "null");
    assert!(known.contains("events_id"), "{known}");
}

fn plan(database: &TestDatabase, text: &str, lead: &str) -> String {
    let types = format!("bigint, timestamptz, timestamptz, text, text, bigint, uuid, uuid, bigint, text, boolean{lead}");
    let last = if lead.is_empty() { "" } else { ", null" };
    plan_of(database, &types, text, &format!("60001, '-infinity', 'infinity', '', 'z', 0, null, null, 100, null, false{last}"))
}

fn plan_of(database: &TestDatabase, types: &str, text: &str, arguments: &str) -> String {
    let sql = format!("PREPARE t ({types}) AS {text}; EXPLAIN (COSTS OFF) EXECUTE t ({arguments})");
    database.sql_as("carelink_audit", &sql).unwrap()
}
