//! What is in the databases, asked with statements that change nothing, beside whatever runs on them.

use std::{collections::BTreeSet, time::Duration};

use carelink_database::{
    Value,
    copy::{Found, ask, indexes},
};
use carelink_platform::clock::Timestamp;

use super::{Finding, Patient, ago, many};
use crate::{backup, deployment::Schema, migrate::missing};

/// A round trip that is slower than that makes a refresh slow by itself.
const SLOW_TRIP: Duration = Duration::from_millis(10);
/// What has waited longer does not wait for its turn.
const OLD_BACKLOG: Duration = Duration::from_secs(60);
/// Without a backup for longer, a disk's end costs days.
const OLD_BACKUP: Duration = Duration::from_secs(36 * 3_600);

const OUTBOX: &str = "SELECT destination, count(*), min(created_at) FROM outbox GROUP BY destination ORDER BY destination";
const HASHERS: &str = "SELECT cost_class, count(*) FROM users WHERE cost_class IS NOT NULL GROUP BY cost_class ORDER BY cost_class";
const KEYS: &str = "SELECT purpose, created_at, signs_from, retired_at FROM signing_key ORDER BY created_at";
const NEWEST: &str = "SELECT max(latest) FROM zones";
const BACKUPS: &str = "SELECT max(time) FROM events WHERE kind = 'backup.taken'";

/// What was found in one of them.
struct Store {
    name: &'static str,
    trip: Duration,
    lacks: Vec<String>,
    missing_indexes: Vec<String>,
    waiting: Vec<(String, u64, Option<Timestamp>)>,
    /// What makes a commit last, where it does not.
    not_durable: Vec<String>,
    standby: Option<bool>,
    now: Option<Timestamp>,
    own: Vec<Vec<Value>>,
    more: Vec<Vec<Value>>,
}

/// All three, or why not.
pub(super) struct Stores(Vec<(&'static str, Result<Store, String>)>);

impl Stores {
    /// Looks at each.
    pub(super) async fn look(patient: &Patient) -> Self {
        let mut stores = Vec::new();
        for schema in patient.deployment.in_order() {
            stores.push((schema.name, look(schema).await.map_err(|error| format!("{error:#}"))));
        }
        Self(stores)
    }

    fn of(&self, name: &str) -> Option<&Store> {
        self.0.iter().find(|(known, _)| *known == name)?.1.as_ref().ok()
    }

    /// Whether every index is there, in all that could be looked at; none where one could not.
    pub(super) fn missing_indexes(&self) -> Option<Vec<String>> {
        let each = self.0.iter().map(|(_, store)| store.as_ref().ok().map(|store| store.missing_indexes.clone()));
        each.collect::<Option<Vec<_>>>().map(|all| all.concat())
    }

    /// How many users have a hash that is not Argon2id's.
    pub(super) fn other_hashers(&self) -> Option<u64> {
        let rows = &self.of("auth")?.own;
        Some(rows.iter().filter(|row| !text(row.first()).starts_with("argon2id")).map(|row| count(row.get(1))).sum())
    }

    /// PostgreSQL's clock.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        self.of("token")?.now
    }

    /// When the newest event happened.
    pub(super) fn newest_event(&self) -> Option<Timestamp> {
        time(self.of("audit")?.own.first()?.first())
    }

    /// One line each.
    pub(super) fn findings(&self, patient: &Patient) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, store) in &self.0 {
            match store {
                Ok(store) => findings.extend(store.findings(patient)),
                Err(error) => findings.push(Finding::bad(format!("database {name}"), error.clone(), away(patient))),
            }
        }
        findings.extend(self.keys(patient));
        findings.push(self.backup(patient));
        findings
    }

    fn keys(&self, patient: &Patient) -> Vec<Finding> {
        let Some(token) = self.of("token") else { return Vec::new() };
        let every = patient.configured.token.token.rotate_keys_every;
        let mut findings = Vec::new();
        for purpose in ["access", "refresh"] {
            let check = format!("signing key {purpose}");
            let of: Vec<_> = token.own.iter().filter(|row| text(row.first()) == purpose).collect();
            let signing = of.iter().find(|row| time(row.get(2)).is_some() && time(row.get(3)).is_none());
            let next = of.iter().any(|row| time(row.get(2)).is_none() && time(row.get(3)).is_none());
            let since = signing.and_then(|row| time(row.get(2)));
            findings.push(match (since, next) {
                (None, _) if of.is_empty() => Finding::warn(check, "there is none yet", "the first start of token-service makes one"),
                (None, _) => Finding::bad(check, "none signs", "start token-service; where it runs, see what it logs"),
                (Some(since), false) => Finding::bad(
                    check,
                    format!("signs since {}, and no next one is published", ago(patient.now, since)),
                    "see what token-service logs of keys",
                ),
                (Some(since), true) if !every.is_zero() && patient.now.since(since) > every * 2 => Finding::warn(
                    check,
                    format!("signs since {}, longer than token.rotate_keys_every", ago(patient.now, since)),
                    "rotate it: carelink key rotate --reason '...'; a rotation needs token-service to run",
                ),
                (Some(since), true) => Finding::ok(check, format!("signs since {}; the next one is published", ago(patient.now, since))),
            });
        }
        findings.extend(master(patient));
        findings
    }

    fn backup(&self, patient: &Patient) -> Finding {
        let advice = "take one: carelink backup --out DIR, every night, to another machine";
        let last = match &patient.deployment.directory {
            Some(directory) => std::fs::read(directory.join(backup::LAST)).ok().and_then(|text| {
                let noted: serde_json::Value = serde_json::from_slice(&text).ok()?;
                Timestamp::parse_rfc3339(noted.get("taken_at")?.as_str()?).ok()
            }),
            None => self.of("audit").and_then(|store| time(store.more.first()?.first())),
        };
        match last {
            None => Finding::warn("backup", "none is known to have been taken", advice),
            Some(at) if patient.now.since(at) > OLD_BACKUP => {
                Finding::warn("backup", format!("the last one was taken {}", ago(patient.now, at)), advice)
            }
            Some(at) => Finding::ok("backup", format!("the last one was taken {}", ago(patient.now, at))),
        }
    }
}

impl Store {
    fn findings(&self, patient: &Patient) -> Vec<Finding> {
        let name = self.name;
        let mut findings = Vec::new();
        let says = format!("answers in {:.2} ms", self.trip.as_secs_f64() * 1_000.0);
        findings.push(if self.trip > SLOW_TRIP {
            Finding::warn(
                format!("database {name}"),
                says,
                "each refresh is one round trip: bring the database nearer, or see what keeps it busy",
            )
        } else {
            Finding::ok(format!("database {name}"), says)
        });
        if !self.lacks.is_empty() {
            let says = format!("lacks {}", self.lacks.join(", "));
            findings.push(Finding::bad(format!("schema {name}"), says, "bring it up to date: carelink migrate"));
        }
        findings.push(match self.missing_indexes.as_slice() {
            [] => Finding::ok(format!("indexes {name}"), "all there"),
            missing => Finding::bad(
                format!("indexes {name}"),
                format!("missing or invalid: {}", missing.join(", ")),
                "queries read whole tables: make them again as the migrations say (REINDEX where one is invalid)",
            ),
        });
        for lack in &self.not_durable {
            let advice = "PostgreSQL acknowledges what a power cut takes back: turn it on";
            findings.push(Finding::bad(format!("durability {name}"), lack.clone(), advice));
        }
        if self.standby == Some(false) && name == "token" {
            findings.push(Finding::warn(
                "standby",
                "PostgreSQL has no synchronous standby",
                "where failover must lose nothing it needs one (synchronous_standby_names)",
            ));
        }
        findings.extend(self.waiting.iter().map(|(to, count, oldest)| {
            let age = oldest.map(|oldest| patient.now.since(oldest)).unwrap_or_default();
            let says = format!("{} for {to}", many(*count, "fact"));
            match age > OLD_BACKLOG {
                true => Finding::warn(
                    format!("outbox {name}"),
                    format!("{says}, the oldest from {}", ago(patient.now, oldest.unwrap_or(patient.now))),
                    "nothing is lost; whoever they are for is away or too slow: see whether it runs, and what both log",
                ),
                false => Finding::ok(format!("outbox {name}"), format!("{says}, on their way")),
            }
        }));
        if self.waiting.is_empty() {
            findings.push(Finding::ok(format!("outbox {name}"), "empty"));
        }
        findings
    }
}

/// The master key's file, in a data directory.
fn master(patient: &Patient) -> Option<Finding> {
    let path = patient.deployment.directory.as_ref()?.join("master.key");
    let made = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok()?;
    let age = made.elapsed().unwrap_or_default();
    Some(Finding::ok("master key", format!("{} days old; keep a copy of it where no backup is", age.as_secs() / 86_400)))
}

async fn look(schema: &Schema) -> anyhow::Result<Store> {
    let known = if schema.on_postgres() {
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE i.indisvalid AND c.relnamespace = current_schema()::regnamespace"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'index'"
    };
    let durable = if schema.on_postgres() {
        "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('synchronous_standby_names'), clock_timestamp()"
    } else {
        "SELECT 'on', 'on', '', NULL"
    };
    let own = match schema.name {
        "auth" => HASHERS,
        "token" => KEYS,
        _ => NEWEST,
    };
    let questions = ["SELECT 1", "SELECT 1", known, OUTBOX, durable, own, if schema.name == "audit" { BACKUPS } else { "SELECT 1" }];
    let found = ask(&schema.at, schema.name, questions.map(str::to_owned).to_vec()).await?;
    let rows = |at: usize| found.get(at).and_then(|found| found.as_ref().ok()).map(|found: &Found| found.rows.clone()).unwrap_or_default();
    let trip = found.get(1).and_then(|found| found.as_ref().ok()).map(|found| found.took).unwrap_or_default();
    let there: BTreeSet<String> = rows(2).iter().map(|row| text(row.first())).collect();
    let lacks = missing(schema).await?;
    // What a step that is still to come makes cannot be there yet.
    let missing_indexes = if lacks.is_empty() {
        indexes(&schema.at, schema.migrations).into_iter().filter(|index| !there.contains(index)).collect()
    } else {
        Vec::new()
    };
    let settings = rows(4).into_iter().next().unwrap_or_default();
    let off = |at: usize, name: &str| (text(settings.get(at)) == "off").then(|| format!("{name} is off"));
    Ok(Store {
        name: schema.name,
        trip,
        lacks,
        missing_indexes,
        waiting: rows(3).iter().map(|row| (text(row.first()), count(row.get(1)), time(row.get(2)))).collect(),
        not_durable: [off(0, "synchronous_commit"), off(1, "fsync")].into_iter().flatten().collect(),
        standby: schema.on_postgres().then(|| !text(settings.get(2)).is_empty()),
        now: time(settings.get(3)),
        own: rows(5),
        more: rows(6),
    })
}

fn away(patient: &Patient) -> String {
    match &patient.deployment.directory {
        Some(directory) => format!("is {} the right directory, and has anything been started on it?", directory.display()),
        None => "see whether PostgreSQL runs, and whether its address, role and password are right".to_owned(),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

fn count(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Int(count)) => count.unsigned_abs(),
        _ => 0,
    }
}

/// A time, which SQLite has as microseconds.
fn time(value: Option<&Value>) -> Option<Timestamp> {
    match value {
        Some(Value::Time(at)) => Some(*at),
        Some(Value::Int(micros)) => Some(Timestamp::from_micros(*micros)),
        _ => None,
    }
}
