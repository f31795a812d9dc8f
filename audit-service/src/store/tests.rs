use std::{cell::Cell, collections::BTreeSet};

use carelink_database::{Db, DbOptions, StoreError, migrate};
use carelink_platform::{
    clock::{Clock, Timestamp},
    events::{Actor, EventBuilder, EventType},
    random::Random,
};
use carelink_proto::audit::{Event, Outcome};
use carelink_servers::{Engine, Place, on_both_engines};
use proptest::prelude::*;
use prost::Message;
use rusqlite::{Connection, StatementStatus};
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        append::Record,
        list_events::{Filter, Found, Kind},
    },
    places::{open, place, tamper},
};

/// A little more than two zones.
const EVENTS: u32 = 9_000;

async fn trail(engine: Engine) -> (Place, Db) {
    let place = place(engine).await;
    let db = open(&place).await;
    (place, db)
}

fn record(number: u32) -> Record {
    record_of(number, EventType::SessionRefreshed)
}

fn record_of(number: u32, kind: EventType) -> Record {
    let event = EventBuilder::new("token", kind, Uuid::from_u128(number.into()), Timestamp::from_secs(number.into()));
    Record::read(event.encode(), "token-service")
}

fn any() -> Filter {
    Filter {
        user: None,
        kind: Kind::Any,
        outcome: Outcome::Unspecified,
        session: None,
        trace_id: None,
        actor: None,
        wrong_producer: false,
        since: None,
        until: None,
    }
}

fn positions(found: &[Found]) -> Vec<u64> {
    found.iter().map(|found| found.position).collect()
}

async fn every_statement_is_understood(engine: Engine) {
    let (_place, db) = trail(engine).await;
    db.check(STATEMENTS).await.unwrap();
}

async fn a4_what_is_there_already_is_acknowledged_and_changes_nothing(engine: Engine) {
    let (_place, db) = trail(engine).await;
    assert_eq!(append(&db, (1..=3).map(record).collect()).await.unwrap(), Appended { stored: 3, last: Some(3) });
    assert_eq!(append(&db, (1..=3).map(record).collect()).await.unwrap(), Appended::default());
    let other = record_of(2, EventType::SessionEnded);
    assert_eq!(append(&db, vec![other, record(4), record(4)]).await.unwrap(), Appended { stored: 1, last: Some(4) });
    let found = list_events(&db, &any(), 100, 100).await.unwrap();
    assert_eq!(positions(&found), [4, 3, 2, 1]);
    assert_eq!(found[2].body, record(2).body);
    assert_eq!(append(&db, vec![]).await.unwrap(), Appended::default());
}

async fn a4_racing_duplicates_are_stored_once_without_a_gap(engine: Engine) {
    let (_place, db) = trail(engine).await;
    for round in 0..20_u32 {
        let calls: Vec<_> = (0..20_u32)
            .map(|call| {
                let db = db.clone();
                let from = round * 100 + call;
                tokio::spawn(async move { append(&db, (from..from + 20).map(record).collect()).await.unwrap().stored })
            })
            .collect();
        let mut stored = 0;
        for call in calls {
            stored += call.await.unwrap();
        }
        assert_eq!(stored, 39);
    }
    let found = list_events(&db, &any(), 10_000, 10_000).await.unwrap();
    let ids: BTreeSet<_> = found.iter().map(|found| Event::decode(found.body.as_slice()).unwrap().id).collect();
    assert_eq!((found.len(), ids.len()), (20 * 39, 20 * 39));
    assert_eq!(positions(&found), (1..=20 * 39).rev().collect::<Vec<_>>());
}

async fn since_is_not_before_and_until_is_before(engine: Engine) {
    let (_place, db) = trail(engine).await;
    append(&db, vec![record(10)]).await.unwrap();
    for (since, until, shown) in [(10, 11, 1), (9, 10, 0), (11, 12, 0), (10, 10, 0)] {
        let filter = Filter { since: Some(Timestamp::from_secs(since)), until: Some(Timestamp::from_secs(until)), ..any() };
        assert_eq!(list_events(&db, &filter, 100, 100).await.unwrap().len(), shown, "{since} {until}");
    }
}

async fn a4_what_cannot_be_read_lies_among_the_others(engine: Engine) {
    let (_place, db) = trail(engine).await;
    let odd = vec![Record::read(vec![0xff; 9], "gateway"), record(1), Record::read(vec![0xff; 9], "token-service")];
    assert_eq!(append(&db, odd).await.unwrap().stored, 2);
    let marked = Filter { kind: Kind::Exactly("unreadable".into()), ..any() };
    let found = list_events(&db, &marked, 100, 100).await.unwrap();
    assert_eq!((positions(&found), found[0].body.clone()), (vec![1], vec![0xff; 9]));
}

async fn r2_what_was_acknowledged_is_there_after_reopening(engine: Engine) {
    let (place, db) = trail(engine).await;
    append(&db, (1..=5).map(record).collect()).await.unwrap();
    drop(db);
    let db = open(&place).await;
    assert!(db.applied().is_empty());
    assert_eq!(append(&db, (4..=6).map(record).collect()).await.unwrap(), Appended { stored: 1, last: Some(6) });
}

async fn the_database_itself_refuses_to_change_the_trail(engine: Engine) {
    let (place, db) = trail(engine).await;
    append(&db, (1..=3).map(record).collect()).await.unwrap();
    drop(db);
    for sql in ["UPDATE events SET kind = 'x' WHERE position = 2", "DELETE FROM events WHERE position = 2", "DELETE FROM events"] {
        assert!(tamper(&place, sql).unwrap_err().contains("the trail is append-only"), "{sql}");
    }
    let sql = match engine {
        Engine::Sqlite => "UPDATE OR REPLACE events SET position = 1 WHERE position = 2",
        Engine::Postgres => "TRUNCATE events",
    };
    assert!(tamper(&place, sql).unwrap_err().contains("the trail is append-only"), "{sql}");
    let db = open(&place).await;
    assert_eq!(positions(&list_events(&db, &any(), 100, 100).await.unwrap()), [3, 2, 1]);
}

async fn a4_events_from_before_callers_were_kept_are_shown_without_one_and_old_replicas_go_on(engine: Engine) {
    let place = engine.place().await;
    match place.database() {
        Some(database) => {
            let owner = crate::places::postgres(database.url("carelink_audit_owner"));
            for steps in [&MIGRATIONS[..1], MIGRATIONS] {
                migrate::postgres(&owner, SCHEMA, steps, &Random::system()).await.unwrap();
                tamper(&place, &of_an_old_replica(engine, steps.len())).unwrap();
            }
        }
        None => {
            for steps in [&MIGRATIONS[..1], MIGRATIONS] {
                let at = crate::places::location(&place);
                let (clock, _) = Clock::manual(Timestamp::from_secs(1_000));
                drop(Db::open(DbOptions { at, schema: SCHEMA, migrations: steps, clock }).await.unwrap());
                tamper(&place, &of_an_old_replica(engine, steps.len())).unwrap();
            }
        }
    }
    let db = open(&place).await;
    assert_eq!(append(&db, vec![record(3)]).await.unwrap(), Appended { stored: 1, last: Some(3) });
    let found = list_events(&db, &any(), 100, 100).await.unwrap();
    let callers: Vec<_> = found.iter().map(|found| (found.position, found.caller.as_deref(), found.wrong_producer)).collect();
    assert_eq!(callers, [(3, Some("token-service"), false), (2, None, false), (1, None, false)]);
}

/// What a replica from before writes, the trail being so long then.
fn of_an_old_replica(engine: Engine, position: usize) -> String {
    let (id, time, body) = match engine {
        Engine::Sqlite => (format!("x'{position:032x}'"), "5", "x'ff'"),
        Engine::Postgres => (format!("'{}'", Uuid::from_u128(position as u128)), "to_timestamp(5)", "'\\xff'"),
    };
    format!(
        "INSERT INTO events (position, zone, id, time, received, kind, outcome, session_counter, body)
         VALUES ({position}, 0, {id}, {time}, {time}, 'user.disabled', 1, 0, {body});
         INSERT INTO zones (zone, earliest, latest) VALUES (0, {time}, {time}) ON CONFLICT (zone) DO NOTHING;
         UPDATE trail_head SET size = {position}"
    )
}

async fn a3_a_sealing_key_is_new_once(engine: Engine) {
    let (_place, db) = trail(engine).await;
    let note = |key: &'static str| {
        let db = db.clone();
        async move {
            db.transaction("note", move |tx| Box::pin(async move { note_sealing_key(tx, key).await }))
                .await
                .unwrap_or_else(|error: StoreError| panic!("{error}"))
        }
    };
    assert_eq!((note("a").await, note("b").await, note("a").await), (true, true, false));
}

/// Whoever lists must not walk the trail: every text finds its rows by an index, zone by zone.
#[test]
fn no_list_walks_the_whole_trail() {
    macro_rules! text {
        ($name:literal) => {
            ($name, concat!(include_str!("sql/list_events.sql"), include_str!(concat!("sql/list_events_", $name, ".sql"))))
        };
    }
    let connection = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|step| connection.execute_batch(step.sqlite).unwrap());
    for (name, text) in [
        text!("all"),
        text!("failed"),
        text!("by_kind"),
        text!("by_user"),
        text!("by_session"),
        text!("by_trace"),
        text!("by_actor"),
        text!("misattributed"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>("detail").unwrap());
        }
        assert!(plan[0].starts_with("SEARCH z "), "{name}: {plan:#?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{name}: {plan:#?}");
        let index = name.strip_prefix("by_").unwrap_or(name);
        let index = match index {
            "all" => "INTEGER PRIMARY KEY",
            "user" => "events_subject (zone=? AND subject=?)",
            "misattributed" => "events_wrong_producer (zone=?",
            index => &format!("events_{index} (zone=?"),
        };
        assert!(plan.iter().any(|step| step.contains(index)), "{name}: {plan:#?}");
    }
}

/// A list of long ago goes past the newer zones without looking into them.
#[test]
fn a_list_of_long_ago_costs_what_one_of_today_does() {
    let connection = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|step| connection.execute_batch(step.sqlite).unwrap());
    let fill = "WITH RECURSIVE n (p) AS (SELECT 1 UNION ALL SELECT p + 1 FROM n WHERE p < 40000)
        INSERT INTO events (position, zone, id, time, received, kind, outcome, session_counter, body)
        SELECT p, p / 4096, CAST(p AS BLOB), p, p, 'session.refreshed', 1, 0, x'' FROM n;
        INSERT INTO zones SELECT zone, min(time), max(time) FROM events GROUP BY zone";
    connection.execute_batch(fill).unwrap();
    let text = concat!(include_str!("sql/list_events.sql"), include_str!("sql/list_events_all.sql"));
    let mut statement = connection.prepare(text).unwrap();
    let mut steps = |before: i64, until: i64| {
        let bound = [("$1", before), ("$2", 0), ("$3", until), ("$6", 0), ("$9", 100), ("$11", 0)];
        bound.iter().for_each(|(name, value)| statement.raw_bind_parameter(*name, value).unwrap());
        [("$4", ""), ("$5", "t")].iter().for_each(|(name, value)| statement.raw_bind_parameter(*name, value).unwrap());
        statement.reset_status(StatementStatus::VmStep);
        let (mut rows, mut shown) = (statement.raw_query(), 0);
        while rows.next().unwrap().is_some() {
            shown += 1;
        }
        drop(rows);
        assert_eq!(shown, 100);
        statement.get_status(StatementStatus::VmStep)
    };
    let today = steps(i64::MAX, i64::MAX);
    assert!(steps(i64::MAX, 4_000) < 2 * today, "until");
    assert!(steps(4_000, i64::MAX) < 2 * today, "by cursor");
}

/// Events that meet often in every field, their times not quite in order.
fn crowd() -> Vec<Record> {
    (1..=EVENTS)
        .map(|number| {
            let some = |share: u32, salt: u32| number.wrapping_mul(2_654_435_761).rotate_left(salt) % share;
            let kind = EventType::ALL[some(EventType::ALL.len().try_into().unwrap(), 3) as usize];
            let time = Timestamp::from_secs(i64::from(number) + i64::from(some(900, 7)));
            let mut event = EventBuilder::new("token", kind, Uuid::from_u128(number.into()), time);
            if some(4, 5) > 0 {
                event = event.subject(Uuid::from_u128(some(5, 9).into()));
            }
            if some(3, 11) > 0 {
                event = event.session(Uuid::from_u128(some(6, 13).into()));
            }
            if some(5, 17) == 0 {
                event = event.actor(Actor::User(Uuid::from_u128(some(5, 19).into())));
            } else if some(7, 29) == 0 {
                event = event.actor(Actor::Service(format!("service-{}", some(3, 19))));
            }
            let mut event = event.build();
            event.trace_id = vec![some(7, 23).try_into().unwrap(); if some(9, 2) == 0 { 0 } else { 16 }];
            Record::read(event.encode_to_vec(), "token-service")
        })
        .collect()
}

/// The same filter, said plainly.
fn lets_through(filter: &Filter, record: &Record) -> bool {
    let time = record.time.unwrap();
    filter.user.is_none_or(|user| record.subject == Some(user) || record.actor_user == Some(user))
        && match &filter.kind {
            Kind::Any => true,
            Kind::Exactly(kind) => record.kind == *kind,
            Kind::Beginning(kind) => record.kind.starts_with(kind),
        }
        && (filter.outcome == Outcome::Unspecified || record.outcome == i32::from(filter.outcome))
        && filter.session.is_none_or(|session| record.session == Some(session))
        && filter.trace_id.is_none_or(|trace| record.trace_id == Some(trace))
        && filter.actor.as_ref().is_none_or(|actor| record.actor.as_ref() == Some(actor))
        && (record.wrong_producer || !filter.wrong_producer)
        && filter.since.is_none_or(|since| time >= since)
        && filter.until.is_none_or(|until| time < until)
}

fn filters() -> impl Strategy<Value = Filter> {
    let id = |below: u128| prop::option::of((0..below).prop_map(Uuid::from_u128));
    let time = || prop::option::of((0_i64..11_000).prop_map(Timestamp::from_secs));
    let kind = prop_oneof![
        3 => Just(Kind::Any),
        1 => prop::sample::select(EventType::ALL).prop_map(|kind| Kind::Exactly(kind.as_str().to_owned())),
        1 => prop::sample::select(&["session.", "s", "user.", "key", "x", "session.re"][..]).prop_map(|text| Kind::Beginning(text.to_owned())),
    ];
    let outcome = prop::sample::select(&[Outcome::Unspecified, Outcome::Success, Outcome::Failure][..]);
    let trace = prop::option::of((0_u8..8).prop_map(|byte| [byte; 16]));
    let actor = prop_oneof![3 => Just(None), 1 => (0_u8..4).prop_map(|number| Some(format!("service-{number}")))];
    let marked = prop::sample::select(&[false, false, false, true][..]);
    (id(6), kind, outcome, id(7), trace, time(), time(), actor, marked).prop_map(
        |(user, kind, outcome, session, trace_id, since, until, actor, wrong_producer)| Filter {
            user,
            kind,
            outcome,
            session,
            trace_id,
            actor,
            wrong_producer,
            since,
            until,
        },
    )
}

async fn pages_show_every_event_that_the_filter_lets_through_exactly_once(engine: Engine) {
    let (_place, db) = trail(engine).await;
    let crowd = crowd();
    for chunk in crowd.chunks(1_000) {
        assert_eq!(append(&db, chunk.to_vec()).await.unwrap().stored, 1_000);
    }
    let later = Cell::new(EVENTS);
    let runtime = tokio::runtime::Handle::current();
    let cases = if engine == Engine::Sqlite { 200 } else { 60 };
    tokio::task::block_in_place(|| {
        proptest!(ProptestConfig::with_cases(cases), |(filter in filters(), page in 1_u32..400)| {
            let expected: Vec<u64> = (1..).zip(&crowd).filter(|(_, record)| lets_through(&filter, record)).map(|(at, _)| at).collect();
            let mut shown = Vec::new();
            let mut before = u64::from(EVENTS) + 1;
            for _ in 0..40 {
                let found = positions(&runtime.block_on(list_events(&db, &filter, before, page)).unwrap());
                let Some(last) = found.last() else { break };
                before = *last;
                shown.extend(found);
                later.set(later.get() + 1); // what arrives between two pages shows in neither
                runtime.block_on(append(&db, vec![record(later.get())])).unwrap();
            }
            let expected: Vec<u64> = expected.into_iter().rev().take(shown.len().max(40 * page as usize)).collect();
            prop_assert_eq!(shown, expected);
        });
    });
}

on_both_engines!(
    every_statement_is_understood,
    a4_what_is_there_already_is_acknowledged_and_changes_nothing,
    a4_racing_duplicates_are_stored_once_without_a_gap,
    since_is_not_before_and_until_is_before,
    a4_what_cannot_be_read_lies_among_the_others,
    r2_what_was_acknowledged_is_there_after_reopening,
    the_database_itself_refuses_to_change_the_trail,
    a4_events_from_before_callers_were_kept_are_shown_without_one_and_old_replicas_go_on,
    a3_a_sealing_key_is_new_once,
    pages_show_every_event_that_the_filter_lets_through_exactly_once,
);
