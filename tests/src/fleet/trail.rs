//! What the trail and the databases of a fleet say, to be held against what its clients saw.

use std::collections::BTreeMap;

use super::{Fleet, Nurse, Service};
use crate::{eventually, fleet::nurse::Times, wait::PATIENCE};

/// An event, as far as journals can tell.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its type.
    pub kind: String,
    /// The session it is about, as tokens write it; empty where it is about none.
    pub session: String,
    /// The session's own count.
    pub counter: u64,
}

/// The whole trail, in its order.
#[derive(Clone, Debug)]
pub struct Trail {
    /// Every event.
    pub events: Vec<Event>,
    /// Events whose id is there more than once.
    pub doubled: usize,
}

impl Trail {
    /// Events of a type.
    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|event| event.kind == kind).count()
    }

    /// The events of each session, in the order of the trail.
    pub fn sessions(&self) -> BTreeMap<&str, Vec<&Event>> {
        let mut sessions: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| !event.session.is_empty() && event.counter > 0) {
            sessions.entry(&event.session).or_default().push(event);
        }
        sessions
    }

    /// Sessions whose own count has gaps or repeats, or stands in another order than it was given out.
    pub fn disorderly(&self) -> Vec<&str> {
        let sessions = self.sessions();
        let disorderly = sessions.iter().filter(|(_, events)| !(1..).zip(events.iter()).all(|(count, event)| event.counter == count));
        disorderly.map(|(session, _)| *session).collect()
    }

    /// Refreshes that these people made and the trail does not have, and those that it has and they did not make.
    pub fn against(&self, nurses: &[Nurse]) -> (usize, usize) {
        let sessions = self.sessions();
        let (mut lost, mut invented) = (0, 0);
        for nurse in nurses {
            let (session, generation) = (nurse.session(), usize::try_from(nurse.held().generation()).unwrap());
            let events = sessions.get(session.as_str()).map(Vec::as_slice).unwrap_or_default();
            let refreshed = events.iter().filter(|event| event.kind == "session.refreshed").count();
            lost += generation.saturating_sub(refreshed);
            invented += refreshed.saturating_sub(generation);
        }
        (lost, invented)
    }
}

impl Fleet {
    /// Events that are on their way to the trail, of auth- and token-service.
    pub fn on_their_way(&self) -> u64 {
        let count = |schema: &str| self.database.sql(&format!("SELECT count(*) FROM {schema}.outbox")).parse::<u64>().unwrap();
        count("carelink_auth") + count("carelink_token")
    }

    /// Waits until everything that happened is in the trail.
    pub async fn delivered(&self) {
        let end = tokio::time::Instant::now() + PATIENCE * 10;
        while self.on_their_way() > 0 {
            assert!(tokio::time::Instant::now() < end, "{} events are still on their way", self.on_their_way());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The trail once everything that happened so far is in it.
    pub async fn whole_trail(&self) -> Trail {
        self.delivered().await;
        let rows = self.database.sql("SELECT kind, session, session_counter FROM carelink_audit.events ORDER BY position");
        let event = |line: &str| {
            let mut fields = line.split('|').map(str::to_owned);
            let mut field = || fields.next().unwrap();
            Event { kind: field(), session: field(), counter: field().parse().unwrap() }
        };
        let doubled = self.database.sql("SELECT count(*) - count(DISTINCT id) FROM carelink_audit.events").parse().unwrap();
        Trail { events: rows.lines().map(event).collect(), doubled }
    }

    /// How long it takes from a sign-out's answer until every gateway refuses the access token.
    pub async fn revocations(&self, nurses: &[Nurse]) -> Times {
        let mut times = Vec::new();
        for nurse in nurses {
            for gateway in 0..self.doors.count() {
                assert_eq!(nurse.verify_at(gateway).await.unwrap().status, 200, "{} is not in", nurse.name);
            }
            let answer = nurse.sign_out().await;
            assert!(answer.status == 200, "{}", answer.text());
            times.push(nurse.is_out_everywhere().await);
        }
        Times::of(times)
    }

    /// Waits until a service's processes have together counted so much more of this than `before`.
    pub async fn counts(&self, service: Service, name: &str, labels: &[&str], at_least: f64) {
        eventually(format!("{name} reaches {at_least}"), async || {
            let mut sum = 0.0;
            for replica in self.of(service) {
                sum += replica.metrics().await.sum(name, labels);
            }
            (sum >= at_least).then_some(())
        })
        .await;
    }
}
