//! Somebody who works with a fleet through any of its gateways, gives up only when refused, and writes down everything that was said.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Answer, Http, Pair};

/// The gateways, as clients reach them.
#[derive(Clone, Debug)]
pub struct Doors {
    http: Http,
    gateways: Arc<Vec<SocketAddr>>,
    next: Arc<AtomicUsize>,
}

impl Doors {
    /// For these gateways, over connections of its own.
    pub fn to(gateways: Vec<SocketAddr>) -> Self {
        Self { http: Http::default(), gateways: Arc::new(gateways), next: Arc::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.gateways.len()
    }

    /// The next one's number, round and round.
    pub fn any(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.count()
    }

    /// Posts JSON to a gateway; an error is a connection that broke.
    pub async fn post(&self, gateway: usize, path: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        let url = format!("http://{}{path}", self.gateways[gateway]);
        self.http.ask(Method::POST, &url, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Asks a gateway; an error is a connection that broke.
    pub async fn ask(&self, gateway: usize, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        self.http.ask(method, &format!("http://{}{path}", self.gateways[gateway]), headers, "").await
    }

    /// Posts JSON to one gateway after the other until one has answered whatever there is to answer.
    pub async fn post_until_answered(&self, path: &str, body: &Value) -> Answer {
        let end = Instant::now() + PERSISTENCE;
        loop {
            let gateway = self.any();
            match self.post(gateway, path, body).await {
                Ok(answer) if answer.status < 500 && answer.status != 429 => return answer,
                Ok(answer) => assert!(Instant::now() < end, "{path}: {} {}", answer.status, answer.text()),
                Err(error) => assert!(Instant::now() < end, "{path}: {error:?}"),
            }
            sleep(RETRY).await;
        }
    }
}

/// How long somebody tries again.
const PERSISTENCE: Duration = Duration::from_secs(120);
/// The pause between two tries.
const RETRY: Duration = Duration::from_millis(50);

/// What became of one try.
#[derive(Clone, Debug)]
pub enum Said {
    /// The successor.
    Successor(Pair),
    /// A refusal: 4xx.
    Refused(Answer),
    /// No answer that says anything: the connection broke, 5xx, 429.
    Nothing(String),
}

/// A try to refresh, as its client saw it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The refresh token.
    pub presented: String,
    /// What came back.
    pub said: Said,
    /// When it began.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What clients saw, all of them.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    fn note(&self, entry: Entry) {
        self.0.lock().unwrap().push(entry);
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Forgets what was.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Tries that were answered with a successor, with a refusal, with nothing.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.0.lock().unwrap().iter().fold((0, 0, 0), |(good, refused, nothing), entry| match entry.said {
            Said::Successor(_) => (good + 1, refused, nothing),
            Said::Refused(_) => (good, refused + 1, nothing),
            Said::Nothing(_) => (good, refused, nothing + 1),
        })
    }

    /// Refusals with their words.
    pub fn refusals(&self) -> Vec<String> {
        let entries = self.entries();
        entries.iter().filter_map(|entry| if let Said::Refused(answer) = &entry.said { Some(answer.text()) } else { None }).collect()
    }

    /// Tokens for which different successors were handed out.
    pub fn double_spends(&self) -> usize {
        let mut successors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in self.entries() {
            if let Said::Successor(pair) = entry.said {
                successors.entry(entry.presented).or_default().insert(pair.refresh);
            }
        }
        successors.values().filter(|pairs| pairs.len() > 1).count()
    }

    /// Different tokens that were exchanged.
    pub fn exchanged(&self) -> usize {
        let entries = self.entries();
        let good = entries.iter().filter(|entry| matches!(entry.said, Said::Successor(_)));
        good.map(|entry| &entry.presented).collect::<BTreeSet<_>>().len()
    }

    /// How long the tries took that were answered with a successor.
    pub fn times(&self) -> Times {
        let entries = self.entries();
        Times::of(entries.iter().filter(|entry| matches!(entry.said, Said::Successor(_))).map(|entry| entry.took))
    }
}

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// What so many of a thousand stayed below, in milliseconds.
    pub fn per_mille(&self, share: usize) -> f64 {
        let at = (self.0.len() * share / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// `p50 3.1 ms, p99 9.9 ms, max 12.0 ms`.
    pub fn text(&self) -> String {
        format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", self.per_mille(500), self.per_mille(990), self.per_mille(1000))
    }
}

/// Somebody with a session.
#[derive(Debug)]
pub struct Nurse {
    /// The name they signed in with.
    pub name: String,
    /// The gateways.
    pub doors: Doors,
    journal: Journal,
    held: Mutex<Pair>,
}

impl Nurse {
    /// Signs in, whichever gateway answers.
    pub async fn sign_in(doors: &Doors, journal: &Journal, name: &str, password: &str) -> Self {
        match Self::try_sign_in(doors, journal, name, password).await {
            Ok(nurse) => nurse,
            Err(answer) => panic!("{name} is not let in: {} {}", answer.status, answer.text()),
        }
    }

    /// The same, or the refusal.
    pub async fn try_sign_in(doors: &Doors, journal: &Journal, name: &str, password: &str) -> Result<Self, Answer> {
        let answer = doors.post_until_answered("/account/token/", &json!({"username": name, "password": password})).await;
        Ok(Self::holding(doors, journal, name, Pair::of(answer)?))
    }

    /// Somebody who holds these already.
    pub fn holding(doors: &Doors, journal: &Journal, name: &str, pair: Pair) -> Self {
        Self { name: name.to_owned(), doors: doors.clone(), journal: journal.clone(), held: Mutex::new(pair) }
    }

    /// What they hold.
    pub fn held(&self) -> Pair {
        self.held.lock().unwrap().clone()
    }

    /// The session they are in.
    pub fn session(&self) -> String {
        self.held().session()
    }

    /// Takes a pair as their own.
    pub fn hold(&self, pair: Pair) {
        *self.held.lock().unwrap() = pair;
    }

    /// Presents a token at a gateway, once; holds nothing new.
    pub async fn present(&self, gateway: usize, token: &str) -> Said {
        let began = Instant::now();
        let said = match self.doors.post(gateway, "/account/token/refresh/", &json!({"refresh": token})).await {
            Err(error) => Said::Nothing(format!("{error:?}")),
            Ok(answer) if answer.status >= 500 || answer.status == 429 => Said::Nothing(format!("{} {}", answer.status, answer.text())),
            Ok(answer) => Pair::of(answer).map_or_else(Said::Refused, Said::Successor),
        };
        self.journal.note(Entry { presented: token.to_owned(), said: said.clone(), at: began, took: began.elapsed() });
        said
    }

    /// Presents what they hold at one gateway after the other until one has answered; then holds the successor.
    pub async fn refresh(&self) -> Result<Pair, Answer> {
        let token = self.held().refresh;
        let end = Instant::now() + PERSISTENCE;
        loop {
            match self.present(self.doors.any(), &token).await {
                Said::Successor(pair) => {
                    self.hold(pair.clone());
                    return Ok(pair);
                }
                Said::Refused(answer) => return Err(answer),
                Said::Nothing(why) => assert!(Instant::now() < end, "{}: nobody answers: {why}", self.name),
            }
            sleep(RETRY).await;
        }
    }

    /// The same, which must work.
    pub async fn stays(&self) -> Pair {
        match self.refresh().await {
            Ok(pair) => pair,
            Err(answer) => panic!("{} was signed out: {} {}", self.name, answer.status, answer.text()),
        }
    }

    /// What a gateway says of the access token; an error is a connection that broke.
    pub async fn verify_at(&self, gateway: usize) -> Result<Answer, reqwest::Error> {
        self.doors.post(gateway, "/account/token/verify/", &json!({"token": self.held().access})).await
    }

    /// Signs out, whichever gateway answers.
    pub async fn sign_out(&self) -> Answer {
        self.doors.post_until_answered("/account/token/blacklist/", &json!({"refresh": self.held().refresh})).await
    }

    /// Every gateway must refuse the access token within the moment that a revocation takes; gives how long it took.
    pub async fn is_out_everywhere(&self) -> Duration {
        let began = Instant::now();
        for gateway in 0..self.doors.count() {
            loop {
                let answer = self.verify_at(gateway).await.unwrap();
                if answer.status == 401 {
                    break;
                }
                assert!(began.elapsed() < crate::wait::PATIENCE, "{} is still in at gateway {gateway}: {}", self.name, answer.text());
            }
        }
        began.elapsed()
    }
}
