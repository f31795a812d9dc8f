//! kill -9 in the middle of refreshes and sign-ins: what was acknowledged is there, whoever retries gets on, and the trail holds
//! each event once (R2, A1, A2).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use carelink_platform::random::Random;
use carelink_tests::{Answer, Carelink, PASSWORD, Pair, eventually, trail::Event};
use futures::future::{join, join_all};
use http::Method;
use serde_json::{Value, json};

use crate::rounds;

const CLIENTS: usize = 8;

/// What a client was told, by the trace id it sent along.
#[derive(Debug)]
enum Acknowledged {
    SignIn(Pair),
    Refresh(Pair),
    /// The session.
    SignOut(String),
}

/// What all clients were told, and every question they ever asked.
#[derive(Default)]
struct Journal {
    acknowledged: RefCell<HashMap<String, Acknowledged>>,
    /// Sessions that somebody knows to be over.
    over: RefCell<HashSet<String>>,
    retries: Cell<usize>,
}

struct Client<'a> {
    ward: &'a Carelink,
    name: String,
    random: &'a Random,
    journal: &'a Journal,
}

impl Client<'_> {
    /// Asks until there are tokens.
    async fn ask(&self, path: &str, body: &Value) -> (String, Pair) {
        let (trace, answer) = self.answer(path, body).await;
        let pair = Pair::of(answer).unwrap_or_else(|answer| panic!("{} at {path}: {} {}", self.name, answer.status, answer.text()));
        (trace, pair)
    }

    /// Asks until there is an answer, as anybody does whose connection broke.
    async fn answer(&self, path: &str, body: &Value) -> (String, Answer) {
        eventually(format!("an answer to {}", self.name), async || {
            let trace = hex::encode(self.random.bytes::<16>());
            let traceparent = format!("00-{trace}-{}-00", hex::encode(self.random.bytes::<8>()));
            let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
            let Ok(answer) = self.ward.try_ask(Method::POST, path, &headers, body.to_string()).await else {
                self.journal.retries.set(self.journal.retries.get() + 1);
                return None;
            };
            // Killed in between: the process before had just begun to stop listening, the one after is not ready yet.
            if answer.status == 503 {
                return None;
            }
            Some((trace, answer))
        })
        .await
    }

    /// A shift: signs in, refreshes a few times, goes home, and again, until the day is over.
    async fn work(&self, over: &Cell<bool>) {
        while !over.get() {
            let (trace, mut held) = self.ask("/account/token/", &json!({"username": self.name, "password": PASSWORD})).await;
            self.journal.acknowledged.borrow_mut().insert(trace, Acknowledged::SignIn(held.clone()));
            for _ in 0..12 {
                if over.get() {
                    return;
                }
                let (trace, successor) = self.ask("/account/token/refresh/", &json!({"refresh": held.refresh})).await;
                assert_eq!((successor.session(), successor.generation()), (held.session(), held.generation() + 1), "{}", self.name);
                self.journal.acknowledged.borrow_mut().insert(trace, Acknowledged::Refresh(successor.clone()));
                held = successor;
            }
            // Home: signed out now, or by the try before whose answer was lost.
            let (trace, answer) = self.answer("/account/token/blacklist/", &json!({"refresh": held.refresh})).await;
            assert!(answer.status == 200 || answer.json()["detail"] == "Token is blacklisted", "{}", answer.text());
            if answer.status == 200 {
                self.journal.acknowledged.borrow_mut().insert(trace, Acknowledged::SignOut(held.session()));
            }
            self.journal.over.borrow_mut().insert(held.session());
        }
    }
}

#[tokio::test]
async fn r2_nothing_acknowledged_is_lost_and_nobody_is_signed_out_by_power_cuts() {
    let ward = Carelink::unlimited().await;
    let (random, journal, over) = (Random::seeded(7), Journal::default(), Cell::new(false));
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| Client { ward: &ward, name: format!("nurse{n}"), random: &random, journal: &journal }).collect();
    for client in &clients {
        ward.add_user(&client.name, PASSWORD, &["nurse"]).await;
    }
    let cuts = async {
        for _ in 0..rounds(100) {
            let acknowledged = journal.acknowledged.borrow().len();
            // In the middle of whatever is under way: a random while after the clients have got on again.
            eventually("the clients get on", async || (journal.acknowledged.borrow().len() > acknowledged + 2).then_some(())).await;
            tokio::time::sleep(Duration::from_micros(u64::from(u16::from_be_bytes(random.bytes())) * 2)).await;
            ward.kill9().await;
            ward.start().await;
        }
        over.set(true);
    };
    join(join_all(clients.iter().map(|client| client.work(&over))), cuts).await;

    let events = ward.whole_trail(&["--type", "s*"]).await;
    assert!(journal.retries.get() > 0, "no kill hit anybody");
    each_event_is_there_once(&events);
    every_acknowledgement_is_in_the_trail(&events, &journal);
    every_session_counts_without_gaps(&ward, &events, &journal.over.into_inner()).await;
}

/// No event is doubled: neither its id nor, for one question, what it says.
fn each_event_is_there_once(events: &[Event]) {
    let ids: HashSet<_> = events.iter().map(|event| event.text("id")).collect();
    assert_eq!(ids.len(), events.len());
    let mut told = HashSet::new();
    for event in events.iter().filter(|event| event.kind().starts_with("session.") || event.kind().starts_with("sign_in.")) {
        let what = (event.kind(), event.text("trace_id"), event.text("session"), event.text("subject"));
        assert!(told.insert(what), "twice in the trail: {event:?}");
    }
}

/// No event is lost: what was answered with 200 is there under the trace id the client sent.
fn every_acknowledgement_is_in_the_trail(events: &[Event], journal: &Journal) {
    let mut by_trace: HashMap<_, Vec<_>> = HashMap::new();
    for event in events {
        by_trace.entry(event.text("trace_id")).or_default().push(event);
    }
    for (trace, acknowledged) in journal.acknowledged.borrow().iter() {
        let found: Vec<_> = by_trace.get(trace.as_str()).into_iter().flatten().map(|event| event.kind()).collect();
        match acknowledged {
            Acknowledged::SignIn(pair) => {
                assert!(found.contains(&"sign_in.succeeded") && found.contains(&"session.started"), "{trace}: {found:?}");
                assert!(by_trace[trace.as_str()].iter().any(|event| event.text("session") == pair.session()));
            }
            Acknowledged::Refresh(pair) => {
                // The first answer may have been lost, then the successor came again.
                assert!(found == ["session.refreshed"] || found == ["session.replayed"], "{trace}: {found:?}");
                assert_eq!(by_trace[trace.as_str()][0].text("session"), pair.session());
            }
            Acknowledged::SignOut(session) => {
                assert_eq!(found, ["session.signed_out"], "{trace}");
                assert_eq!(by_trace[trace.as_str()][0].text("session"), *session);
            }
        }
    }
}

/// A session's events are numbered from 1 without gaps, and it was refreshed as often as its generation says.
async fn every_session_counts_without_gaps(ward: &Carelink, events: &[Event], over: &HashSet<String>) {
    let mut sessions: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.counter() > 0) {
        sessions.entry(event.text("session")).or_default().push(event);
    }
    let listed = ward.json(&["sessions", "list", "--all", "--ended", "--json"]).await;
    let listed = listed["sessions"].as_array().unwrap();
    assert_eq!(listed.len(), sessions.len(), "every session has begun in the trail, and none that is not there");
    for session in listed {
        let id = session["id"].as_str().unwrap();
        let events = &sessions[id];
        let signed_out = events.iter().filter(|event| event.kind() == "session.signed_out").count();
        assert_eq!((signed_out == 1, signed_out < 2), (session["ended_at"].is_string(), true), "{session}");
        assert!(!over.contains(id) || signed_out == 1, "somebody was told that this one is over: {session}");
        let mut counters: Vec<_> = events.iter().map(|event| event.counter()).collect();
        counters.sort_unstable();
        assert_eq!(counters, (1..=u64::try_from(counters.len()).unwrap()).collect::<Vec<_>>(), "{session}");
        let refreshed = events.iter().filter(|event| event.kind() == "session.refreshed").count();
        assert_eq!(u64::try_from(refreshed).unwrap(), session["generation"].as_u64().unwrap(), "{session}");
    }
}
