//! What one seed makes of a fleet: its hosts, its faults, and what everybody saw. Whoever sees something that must not be, says so here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_database::{
    Location,
    simulation::{self, Switch},
};
use carelink_platform::{
    clock::{Clock, ManualClock, Timestamp},
    random::Random,
};
use carelink_verifier::{Claims, Purpose, Refusal, STALE_AFTER};
use tempfile::TempDir;
use uuid::Uuid;

use crate::gate::Ask;

const FILE: &str = "token.sqlite3";
/// When it begins, by the database's clock.
const START_S: i64 = 1_800_000_000;
/// The replicas.
pub(crate) const TOKENS: [&str; 2] = ["token-1", "token-2"];
pub(crate) const GATES: [&str; 2] = ["gate-1", "gate-2"];
/// Short, so that tokens run out while it lasts.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(15);
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(9);
/// How long a message is under way at most, where nothing holds it.
pub(crate) const LATENCY_MS: u64 = 40;
/// How far the world goes at each step.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// What a check takes at most, and the runtime's grain.
const CHECK: Duration = Duration::from_millis(1_200);

/// A mistake that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    None,
    /// A replica tells some revocations under another session's name.
    MisnamesRevocations,
    /// A verifier grants by what it last knew.
    GrantsWhileBlind,
    /// A gateway refreshes once more than it was asked to.
    RefreshesTwice,
    /// Who comes again with a token whose answer was lost is taken for a thief.
    NoGrace,
    /// The edge waits for ever.
    NoDeadline,
    /// A key signs as soon as it is made.
    SignsUnpublished,
}

/// One simulated world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    plant: Plant,
    dir: TempDir,
    switch: Switch,
    clock: Clock,
    hand: ManualClock,
    seen: Mutex<Seen>,
}

/// What everybody saw.
#[derive(Default)]
struct Seen {
    now: Duration,
    lives: BTreeMap<Uuid, Life>,
    starts: BTreeMap<&'static str, u64>,
    story: Vec<String>,
    wrong: BTreeSet<String>,
    figures: Figures,
    /// Access tokens that somebody could have found.
    loot: Vec<(Named, Arc<str>)>,
    /// Everybody's role `doctor` may have been lost from then on; it was surely lost then.
    losing: Option<Duration>,
    lost: Option<Duration>,
}

/// What is known of a session.
#[derive(Default)]
struct Life {
    /// Somebody may have ended it from then on; it was surely ended then.
    ending: Option<Duration>,
    ended: Option<Duration>,
    /// What came of each generation's refresh token.
    successors: BTreeMap<u64, String>,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) refreshes: u64,
    pub(crate) checks: u64,
    pub(crate) refusals: u64,
    pub(crate) ends: u64,
    pub(crate) unavailable: u64,
    pub(crate) rotations: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        simulation::forget(&self.dir.path().join(FILE));
    }
}

impl Figures {
    pub(crate) fn add(&mut self, more: &Self) {
        self.refreshes += more.refreshes;
        self.checks += more.checks;
        self.refusals += more.refusals;
        self.ends += more.ends;
        self.unavailable += more.unavailable;
        self.rotations += more.rotations;
    }
}

/// What became of it.
pub(crate) struct Story {
    pub(crate) lines: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) figures: Figures,
}

/// What a token says of itself.
pub(crate) struct Named {
    pub(crate) session: Uuid,
    pub(crate) generation: u64,
    pub(crate) expires_s: i64,
    pub(crate) is_doctor: bool,
}

pub(crate) fn named(token: &str) -> Named {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    Named {
        session: claims["sid"].as_str().unwrap().parse().unwrap(),
        generation: claims["gen"].as_u64().unwrap(),
        expires_s: claims["exp"].as_i64().unwrap(),
        is_doctor: claims["roles"].as_array().is_some_and(|roles| roles.iter().any(|role| role == "doctor")),
    }
}

impl World {
    pub(crate) fn new(seed: u64, plant: Plant) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (clock, hand) = Clock::manual(Timestamp::from_secs(START_S));
        let switch = simulation::play(&dir.path().join(FILE));
        Self(Arc::new(Inner { seed, plant, dir, switch, clock, hand, seen: Mutex::default() }))
    }

    /// What the database does.
    pub(crate) fn switch(&self) -> &Switch {
        &self.0.switch
    }

    pub(crate) fn plant(&self) -> Plant {
        self.0.plant
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    pub(crate) fn database(&self) -> Location {
        self.0.dir.path().join(FILE).into()
    }

    pub(crate) fn grace(&self) -> Duration {
        if self.0.plant == Plant::NoGrace { Duration::ZERO } else { Duration::from_secs(30) }
    }

    /// Another sequence for everybody, and for each of their starts.
    pub(crate) fn random(&self, whose: &'static str) -> Random {
        let mut seen = self.seen();
        let start = seen.starts.entry(whose).or_default();
        *start += 1;
        let mixed = whose.bytes().fold(self.0.seed ^ (*start << 48), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Random::seeded(mixed)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap()
    }

    /// The one clock, of the database and of whoever watches; moved between two steps.
    pub(crate) fn set_time(&self, now: Duration) {
        self.seen().now = now;
        self.0.hand.set(Timestamp::from_secs(START_S) + now);
    }

    pub(crate) fn now(&self) -> Duration {
        self.seen().now
    }

    pub(crate) fn note(&self, who: &str, what: impl std::fmt::Display) {
        let mut seen = self.seen();
        let line = format!("{:8.3} {who}: {what}", seen.now.as_secs_f64());
        seen.story.push(line);
    }

    pub(crate) fn wrong(&self, who: &str, what: impl std::fmt::Display) {
        self.note(who, format!("WRONG: {what}"));
        self.seen().wrong.insert(format!("{who}: {what}"));
    }

    pub(crate) fn story(&self) -> Story {
        let seen = self.seen();
        Story { lines: seen.story.clone(), wrong: seen.wrong.iter().cloned().collect(), figures: seen.figures }
    }

    // What is told, and what must not be.

    /// Somebody is about to end a session.
    pub(crate) fn ending(&self, who: &str, session: Uuid) {
        let now = self.now();
        self.note(who, format!("ends {session}"));
        self.seen().lives.entry(session).or_default().ending.get_or_insert(now);
    }

    /// token-service has said that it is over.
    pub(crate) fn ended(&self, who: &str, session: Uuid) {
        let now = self.now();
        self.note(who, format!("has ended {session}"));
        let mut seen = self.seen();
        seen.figures.ends += 1;
        seen.lives.entry(session).or_default().ended.get_or_insert(now);
    }

    /// The role `doctor` is about to be taken from everybody.
    pub(crate) fn demoting(&self, who: &str) {
        self.note(who, "takes a role from everybody");
        let mut seen = self.seen();
        seen.losing = Some(seen.now);
    }

    /// It has been.
    pub(crate) fn demoted(&self, who: &str) {
        self.note(who, "has taken a role from everybody");
        let mut seen = self.seen();
        seen.lost = Some(seen.now);
    }

    /// A session has begun.
    pub(crate) fn began(&self, who: &str, session: Uuid) {
        self.note(who, format!("signed in: {session}"));
        self.seen().lives.entry(session).or_default();
    }

    /// Somebody was careless with an access token.
    pub(crate) fn drop_token(&self, access: &str) {
        self.seen().loot.push((named(access), access.into()));
    }

    /// What can be found: of sessions that are over, or lost a role, and the latest.
    pub(crate) fn loot(&self) -> Vec<Arc<str>> {
        let mut seen = self.seen();
        let now_s = START_S + i64::try_from(seen.now.as_secs()).unwrap();
        seen.loot.retain(|(said, _)| said.expires_s + 8 > now_s);
        let over = |said: &Named| {
            seen.lives.get(&said.session).is_some_and(|life| life.ended.is_some()) || (said.is_doctor && seen.lost.is_some())
        };
        let mut loot: Vec<Arc<str>> = seen.loot.iter().filter(|(said, _)| over(said)).map(|(_, token)| Arc::clone(token)).collect();
        loot.extend(seen.loot.iter().rev().take(5).map(|(_, token)| Arc::clone(token)));
        loot
    }

    /// Sessions that nobody has ended.
    pub(crate) fn live(&self) -> Vec<Uuid> {
        self.seen().lives.iter().filter(|(_, life)| life.ending.is_none()).map(|(session, _)| *session).collect()
    }

    pub(crate) fn may_be_over(&self, session: Uuid) -> bool {
        self.seen().lives.get(&session).is_some_and(|life| life.ending.is_some())
    }

    /// A pair was handed out for `presented`: always the same one.
    pub(crate) fn succeeded(&self, who: &str, presented: &str, refresh: &str) {
        let (before, after) = (named(presented), named(refresh));
        self.note(who, format!("{} {} -> {}", before.session, before.generation, after.generation));
        if after.session != before.session || after.generation != before.generation + 1 {
            self.wrong(who, format!("generation {} of {} came out of {}", after.generation, after.session, before.generation));
        }
        let other = {
            let mut seen = self.seen();
            seen.figures.refreshes += 1;
            let known =
                seen.lives.entry(before.session).or_default().successors.entry(before.generation).or_insert_with(|| refresh.to_owned());
            known != refresh
        };
        if other {
            self.wrong(who, format!("{} generation {} has two successors", before.session, before.generation));
        }
    }

    /// A verifier accepted a token, asked at `began`.
    pub(crate) fn accepted(&self, gate: &str, claims: &Claims, began: Duration, purpose: Purpose) {
        let bound = STALE_AFTER
            + Duration::from_millis(2 * LATENCY_MS)
            + TICK * 2
            + if purpose == Purpose::Grant { Duration::ZERO } else { MAX_STALENESS };
        let (over, lost) = {
            let mut seen = self.seen();
            seen.figures.checks += 1;
            let life = seen.lives.entry(claims.session).or_default();
            let over = life.ended;
            (over, seen.lost.filter(|_| claims.has_role("doctor")))
        };
        for (since, what) in [(over, "ended"), (lost, "lost a role")] {
            if let Some(since) = since.filter(|since| *since + bound < began) {
                let late = (began - since).as_secs_f64();
                self.wrong(gate, format!("{purpose:?} accepted {} {late:.3} s after it {what}", claims.session));
            }
        }
        let past = self.0.clock.now().since(Timestamp::from_secs(claims.expires.0));
        if past > Duration::from_secs(5) + CHECK {
            self.wrong(gate, format!("accepted {} {past:?} past its end", claims.session));
        }
    }

    /// A verifier refused a token: 401. There must have been a reason.
    pub(crate) fn refused(&self, gate: &str, token: &str, refusal: Refusal) {
        let said = named(token);
        let reason = {
            let mut seen = self.seen();
            seen.figures.refusals += 1;
            let ending = seen.lives.entry(said.session).or_default().ending.is_some();
            match refusal {
                Refusal::Expired => self.0.clock.now() + TICK >= Timestamp::from_secs(said.expires_s),
                Refusal::Revoked => ending || (said.is_doctor && seen.losing.is_some()),
                _ => false,
            }
        };
        if !reason {
            self.wrong(gate, format!("401 for a good token of {}: {}", said.session, refusal.detail()));
        }
    }

    /// Nobody knows: not wrong, and counted.
    pub(crate) fn unavailable(&self) {
        self.seen().figures.unavailable += 1;
    }

    /// Other keys sign.
    pub(crate) fn rotated(&self, who: &str) {
        self.note(who, "has rotated the keys");
        self.seen().figures.rotations += 1;
    }

    /// How long somebody waited.
    pub(crate) fn took(&self, gate: &str, ask: Ask, took: Duration, limit: Duration) {
        if took > limit {
            self.wrong(gate, format!("{ask:?} took {took:?}"));
        }
    }
}
