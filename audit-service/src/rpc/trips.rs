//! What each operation costs in round trips: to PostgreSQL, or to the thread that owns the file.

use carelink_platform::telemetry;
use carelink_proto::audit::ListEventsRequest;
use carelink_servers::{Engine, on_both_engines};

use super::tests::{House, refreshed};

/// All round trips of this process so far; nothing runs beside in these tests.
fn trips() -> u64 {
    let text = telemetry::metrics_handle().render();
    let counters = text.lines().filter(|line| line.starts_with("carelink_database_round_trips_total{"));
    counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn costs(engine: Engine, what: &str, [sqlite, postgres]: [u64; 2], operation: impl Future<Output = ()>) {
    let before = trips();
    operation.await;
    let budget = if engine == Engine::Sqlite { sqlite } else { postgres };
    assert_eq!(trips() - before, budget, "{what}");
}

async fn every_operation_keeps_to_its_declared_round_trips(engine: Engine) {
    if std::env::var_os("NEXTEST").is_none() {
        return; // tests that share a process would count each other's
    }
    let house = House::start(engine).await;
    // Begin, lock the head, find what is new, store it, advance, commit.
    for (what, budget, events) in [
        ("Append, one", [1, 6], 1..=1),
        ("Append, 500", [1, 6], 2..=501),
        ("Append, nothing new", [1, 4], 1..=500),
        ("Append, across zones", [1, 6], 4_000..=4_999),
        ("Append, across zones", [1, 6], 5_000..=5_999),
        ("Append, across zones", [1, 6], 6_000..=6_999),
        ("Append, across zones", [1, 6], 7_000..=7_999),
    ] {
        costs(engine, what, budget, async { assert!(house.append(events.map(refreshed).collect()).await <= 1_000) }).await;
    }
    // The reading is an event before anything is read.
    costs(engine, "ListEvents", [2, 7], async { drop(house.list(ListEventsRequest::default()).await) }).await;
}

on_both_engines!(every_operation_keeps_to_its_declared_round_trips);
