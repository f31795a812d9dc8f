//! What an operation costs in round trips to PostgreSQL, counted over all processes of a fleet and compared with the table of
//! docs/ARCHITECTURE.md (its other columns are counted on SQLite).
//!
//! What runs beside is known by its name; what is named nowhere here counts, so that nobody adds a round trip unnoticed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use carelink_tests::{
    Metrics, PASSWORD,
    fleet::{Fleet, Journal, Nurse, Plan, Said, Service},
};
use http::Method;
use serde_json::json;

/// Relays, leases, the stream, the sweep, readiness, the trail itself.
const BESIDE: &[&str] = &[
    "append",
    "beat",
    "cost_classes",
    "expired_sessions",
    "lease_acquire",
    "lease_release",
    "live_revocations",
    "load_keys",
    "load_sources",
    "names_without_look",
    "outbox_acknowledged",
    "outbox_backlog",
    "outbox_take",
    "ping",
    "record_build",
    "report_activity",
    "revocation_head",
    "revocations_since",
    "rotate_keys",
    "sweep",
];
const TRIPS: &str = "carelink_database_round_trips_total";
/// Every counter has risen after so long.
const SETTLED: Duration = Duration::from_secs(30);

/// The last column of the table, by the first.
fn table() -> BTreeMap<String, f64> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md")).unwrap();
    let section = page.split_once("\n## What each operation costs\n").expect("the section").1;
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[7].parse().unwrap_or_else(|_| panic!("`{line}`")))
    };
    rows.map(row).collect()
}

struct Counter<'a> {
    fleet: &'a Fleet,
    before: Vec<Metrics>,
    table: BTreeMap<String, f64>,
    wrong: Vec<String>,
}

impl Counter<'_> {
    async fn look(&self) -> Vec<Metrics> {
        let mut seen = Vec::new();
        for replica in self.fleet.replicas.iter().filter(|replica| replica.service != Service::Gateway) {
            seen.push(replica.metrics().await);
        }
        seen
    }

    async fn begins(&mut self) {
        self.fleet.delivered().await;
        self.before = self.look().await;
    }

    /// What has been counted since, by operation.
    async fn counted(&self) -> BTreeMap<String, f64> {
        let mut counted: BTreeMap<String, f64> = BTreeMap::new();
        for (after, before) in self.look().await.iter().zip(&self.before) {
            for (series, by) in after.since(before, &[TRIPS]) {
                let operation = series.split('"').nth(1).unwrap_or_default();
                if !BESIDE.contains(&operation) {
                    *counted.entry(operation.to_owned()).or_default() += by;
                }
            }
        }
        counted
    }

    async fn costs(&mut self, operation: &str) {
        let expected = self.table.remove(operation).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no row `{operation}`"));
        self.fleet.delivered().await;
        let end = Instant::now() + SETTLED;
        let mut counted = self.counted().await;
        while counted.values().sum::<f64>() != expected && Instant::now() < end {
            counted = self.counted().await;
        }
        if counted.values().sum::<f64>() != expected {
            self.wrong.push(format!("{operation}: {expected} in the table, counted {counted:?}"));
        }
    }
}

#[tokio::test]
async fn every_operation_takes_the_round_trips_of_the_table() {
    let one = |plan: Plan, service| plan.replicas(service, 1);
    let plan = Service::ALL.into_iter().fold(Plan::default(), one).set("session.grace", "1h");
    let fleet = plan.up().await;
    fleet.add_users(&["amina21".into()], &["nurse"]).await;
    let (doors, journal) = (fleet.doors.clone(), Journal::default());
    let verify = async |token: &str| doors.post(0, "/account/token/verify/", &json!({"token": token})).await.unwrap().expect(200);
    let mut counter = Counter { fleet: &fleet, before: Vec::new(), table: table(), wrong: Vec::new() };

    counter.begins().await;
    let amina = Nurse::sign_in(&doors, &journal, "amina21", PASSWORD).await;
    counter.costs("sign in").await;
    counter.begins().await;
    Nurse::try_sign_in(&doors, &journal, "amina21", "wrong").await.unwrap_err();
    counter.costs("sign in, refused").await;

    for operation in ["verify an access token, seen for the first time", "verify an access token"] {
        counter.begins().await;
        verify(&amina.held().access).await;
        counter.costs(operation).await;
    }
    counter.begins().await;
    verify(&amina.held().refresh).await;
    counter.costs("verify a refresh token").await;

    for operation in ["who am I, name not remembered", "who am I"] {
        counter.begins().await;
        let bearer = format!("Bearer {}", amina.held().access);
        doors.ask(0, Method::GET, "/account/me/", &[("authorization", &bearer)]).await.unwrap().expect(200);
        counter.costs(operation).await;
    }

    let first = amina.held().refresh;
    counter.begins().await;
    amina.stays().await;
    counter.costs("refresh").await;
    counter.begins().await;
    assert!(matches!(amina.present(0, &first).await, Said::Successor(_)));
    counter.costs("refresh, replayed").await;
    amina.stays().await;
    counter.begins().await;
    assert!(matches!(amina.present(0, &first).await, Said::Refused(_)));
    counter.costs("refresh, reused").await;

    let amina = Nurse::sign_in(&doors, &journal, "amina21", PASSWORD).await;
    counter.begins().await;
    amina.sign_out().await.expect(200);
    counter.costs("sign out").await;
    assert!(counter.table.is_empty(), "not counted: {:?}", counter.table.keys());
    assert!(counter.wrong.is_empty(), "{}", counter.wrong.join("\n"));
}
