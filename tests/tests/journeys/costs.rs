//! What an operation costs, counted on the running binary and compared with the table of docs/ARCHITECTURE.md.
//!
//! Relays, sweeps and the stream work beside it; what is theirs is known by the names of their statements. A statement that is
//! named nowhere here counts as a query, so that nobody adds one unnoticed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use carelink_tests::{Carelink, Metrics, PASSWORD, Person, Start};
use serde_json::json;

use crate::docs::page;

/// One row of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    rpcs: f64,
    queries: f64,
    writes: f64,
    hashes: f64,
    signed: f64,
    checked: f64,
}

/// Run within a write, whose item is counted.
const WITHIN_WRITES: &[&str] = &[
    "create_session",
    "end_session",
    "find_subject",
    "live_sessions_of",
    "outbox_put",
    "outbox_put_all",
    "put_subject",
    "record_sign_in",
    "refresh",
    "replay",
    "reserve_sign_in",
    "revoke",
];
/// What runs beside: one write each.
const WRITES_BESIDE: &[&str] = &["lease_acquire", "lease_check", "report_reporter"];
/// What else runs beside: the stream, the relays, the trail.
const BESIDE: &[&str] = &[
    "advance",
    "append",
    "cost_classes",
    "delete_old_revocations",
    "delete_old_sessions",
    "delete_old_reporters",
    "expired_sessions",
    "idle_sessions",
    "known",
    "live_revocations",
    "load_keys",
    "lock_head",
    "names_without_look",
    "outbox_backlog",
    "outbox_delete",
    "outbox_take",
    "report_activity",
    "revocation_head",
    "revocations_since",
    "sweep_guessing",
    "sweep_links",
];
/// Every counter has risen after so long.
const SETTLED: Duration = Duration::from_secs(30);
const STATEMENTS: &str = "carelink_database_statements_total";
const ITEMS: &str = "carelink_database_items_total";
const RPCS: &str = "carelink_rpc_requests_total";
const HASHES: &str = "carelink_hash_seconds_count";
const MISSES: &str = "carelink_verifier_cache_misses_total";
/// Of a token that cannot be an access token no signature is looked at.
const REFUSALS: &str = "carelink_verifier_refusals_total";

/// What happened between two looks; `minted` pairs of tokens were in the answer.
fn cost(before: &Metrics, after: &Metrics, minted: f64) -> Cost {
    let risen = after.since(before, &[STATEMENTS, ITEMS, RPCS, HASHES, MISSES, REFUSALS]);
    let sum = |name: &str, wanted: &dyn Fn(&str) -> bool| -> f64 {
        risen.iter().filter(|(series, _)| series.split('{').next() == Some(name) && wanted(series)).map(|(_, by)| by).sum()
    };
    let statement = |names: &[&str], series: &str| names.iter().any(|name| series.contains(&format!("\"{name}\"")));
    let beside = |series: &str| statement(WRITES_BESIDE, series) || statement(BESIDE, series);
    let proofs = sum(RPCS, &|series| series.contains("/VerifyPassword\"") && series.contains("\"OK\""));
    let believed = sum(RPCS, &|series| series.contains("/CreateSession\""));
    Cost {
        rpcs: sum(RPCS, &|series| !["/Append\"", "/Watch\"", "/ReportActivity\""].iter().any(|beside| series.contains(beside))),
        queries: sum(STATEMENTS, &|series| !beside(series) && !statement(WITHIN_WRITES, series)),
        writes: sum(ITEMS, &|series| !series.contains("\"audit\"")) - sum(STATEMENTS, &|series| statement(WRITES_BESIDE, series)),
        hashes: sum(HASHES, &|_| true),
        signed: proofs + minted,
        checked: believed + sum(MISSES, &|_| true) - sum(REFUSALS, &|series| series.contains("\"not_access\"")),
    }
}

/// The table of the page, by its first column.
fn table() -> BTreeMap<String, Cost> {
    let page = page("docs/ARCHITECTURE.md");
    let section = page.split_once("\n## What each operation costs\n").expect("the section").1;
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let number = |at: usize| cells[at].parse().unwrap_or_else(|_| panic!("`{}` in `{line}`", cells[at]));
        let cost =
            Cost { rpcs: number(1), queries: number(2), writes: number(3), hashes: number(4), signed: number(5), checked: number(6) };
        (cells[0].to_owned(), cost)
    };
    rows.map(row).collect()
}

/// Looks before and after.
struct Counter<'a> {
    ward: &'a Carelink,
    before: Metrics,
    table: BTreeMap<String, Cost>,
}

impl Counter<'_> {
    /// Whatever goes on after earlier answers is over.
    async fn begins(&mut self) {
        self.ward.delivered().await;
        self.before = self.ward.metrics().await;
    }

    /// What happened since must be what the table says; `minted` pairs of tokens were in the answer. Some counters rise a moment
    /// after the answer, and a relay may be in the middle of its own.
    async fn costs(&mut self, operation: &str, minted: u8) {
        let expected = self.table.remove(operation).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no row `{operation}`"));
        self.ward.delivered().await;
        let counted = async || cost(&self.before, &self.ward.metrics().await, minted.into());
        let end = Instant::now() + SETTLED;
        while counted().await != expected && Instant::now() < end {}
        assert_eq!(counted().await, expected, "{operation}");
    }
}

#[tokio::test]
async fn every_operation_costs_what_the_table_says() {
    let ward = Start::default().unlimited().set("session.grace", "1h").up().await;
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    let mut counter = Counter { ward: &ward, before: Metrics::default(), table: table() };

    counter.begins().await;
    let amina = ward.sign_in("amina21", PASSWORD).await;
    counter.costs("sign in", 1).await;
    counter.begins().await;
    Person::sign_in(&ward, "amina21", "wrong").await.unwrap_err();
    counter.costs("sign in, refused", 0).await;

    counter.begins().await;
    amina.verify().await.expect(200);
    counter.costs("verify an access token, seen for the first time", 0).await;
    counter.begins().await;
    amina.verify().await.expect(200);
    counter.costs("verify an access token", 0).await;
    counter.begins().await;
    ward.post("/account/token/verify/", &json!({"token": amina.held().refresh})).await.expect(200);
    counter.costs("verify a refresh token", 0).await;

    counter.begins().await;
    amina.me().await.expect(200);
    counter.costs("who am I, name not remembered", 0).await;
    counter.begins().await;
    amina.me().await.expect(200);
    counter.costs("who am I", 0).await;

    let first = Person::holding(&ward, "amina21", amina.held());
    let stolen = Person::holding(&ward, "amina21", amina.held());
    counter.begins().await;
    amina.stays().await;
    counter.costs("refresh", 1).await;
    counter.begins().await;
    first.refresh().await.unwrap();
    counter.costs("refresh, replayed", 1).await;
    amina.stays().await;
    counter.begins().await;
    stolen.refresh().await.unwrap_err();
    counter.costs("refresh, reused", 0).await;

    let amina = ward.sign_in("amina21", PASSWORD).await;
    counter.begins().await;
    amina.sign_out().await.expect(200);
    counter.costs("sign out", 0).await;
    assert!(counter.table.is_empty(), "not counted: {:?}", counter.table.keys());
}
