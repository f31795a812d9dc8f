//! The one stream (V2): a snapshot, then entries without gaps, and heartbeats that vouch for all of it.
//!
//! One task a replica reads the database and tells every subscriber: at once what this replica has committed, and where there may be
//! others, every 20 ms what they have. There a heartbeat is sent for every beat of the pulse (T5), with its time; else every second after
//! a successful read. Memory is bounded: who falls behind is told to begin anew.

use std::{sync::Arc, time::Duration};

use carelink_database::{StoreError, lease::Lease};
use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
    grpc::Caller,
    lifecycle::Shutdown,
};
use carelink_proto::token::{Entries, Heartbeat, KeySet, Revocation, Snapshot, WatchResponse, watch_response::Message};
use tokio::{
    sync::{Semaphore, broadcast, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    Error,
    config::Config,
    keys::Keys,
    store::{self, Entry, Head, Store},
    watchers::Watchers,
};

/// How often there is a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often what other replicas have committed is looked for.
const POLL: Duration = Duration::from_millis(20);
/// A pulse older than this is none.
const PULSE_STOPPED: Duration = Duration::from_secs(5);
/// How many messages a subscriber may lag behind; each of up to a thousand entries.
const BUFFER: usize = 256;
/// How many it may have been sent without reading them, and how long it may read nothing.
const UNREAD: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// How many snapshots are made at once.
const SNAPSHOTS: usize = 4;

/// What subscribers are told.
#[derive(Clone, Debug)]
enum News {
    Entries {
        incarnation: Uuid,
        entries: Arc<[Entry]>,
        now: Timestamp,
    },
    Keys(KeySet),
    Heartbeat {
        head: u64,
        time: Timestamp,
        incarnation: Uuid,
        digest: Vec<u8>,
    },
    /// The database has begun another life: numbers count from another past (R1).
    Anew(Uuid),
}

/// How far subscribers have been told.
#[derive(Clone, Debug)]
struct Told {
    head: Head,
    /// Of the keys.
    digest: Vec<u8>,
}

/// Tells every subscriber. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    store: Store,
    keys: Keys,
    config: Arc<Config>,
    /// To write the pulse where nobody does yet.
    pulse: Lease,
    news: broadcast::Sender<News>,
    /// How far things were at the beginning.
    begin: Head,
    stopping: Shutdown,
    watchers: Watchers,
    /// Snapshots that are made at once: each is as large as all that is revoked.
    snapshots: Arc<Semaphore>,
}

impl Feed {
    /// Tells what is revoked from now on.
    pub(crate) async fn open(store: Store, keys: Keys, config: Arc<Config>, pulse: Lease) -> Result<Self, StoreError> {
        let begin = store::head(&store).await?;
        store.heard(begin.now);
        let (news, snapshots) = (broadcast::channel(BUFFER).0, Arc::new(Semaphore::new(SNAPSHOTS)));
        Ok(Self { store, keys, config, pulse, news, begin, stopping: Shutdown::new(), watchers: Watchers::default(), snapshots })
    }

    /// Reads what changed and tells it, until the stop is requested; then every stream ends.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        let shared = self.store.db.is_shared();
        let mut told = Told { head: self.begin, digest: self.keys.held().published.digest.clone() };
        let (mut beat, mut failed) = (Instant::now(), false);
        loop {
            let due = Instant::now() >= beat;
            match self.tell(&mut told, due && !shared).await {
                Ok(()) => {
                    failed = false;
                    beat = if due { Instant::now() + HEARTBEAT } else { beat };
                }
                Err(error) => {
                    if !failed {
                        tracing::warn!(%error, "revocations cannot be read: verifiers hear no heartbeat");
                    }
                    failed = true;
                    beat = Instant::now() + HEARTBEAT;
                }
            }
            let next = if shared && !failed { Instant::now() + POLL } else { beat };
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = self.store.revoked.notified() => {}
                () = sleep_until(next) => {}
            }
        }
        self.stopping.request();
    }

    /// One look. `heartbeat`: one is due by the clock; where there is a pulse, that says.
    async fn tell(&self, told: &mut Told, heartbeat: bool) -> Result<(), Error> {
        let head = store::head(&self.store).await?;
        self.store.heard(head.now);
        let mut number = told.head.number;
        if head.incarnation != told.head.incarnation {
            self.keys.reload().await?;
            self.tell_all(News::Anew(head.incarnation));
            number = head.number;
        }
        self.keys.follow(head.keys).await?;
        let keys = self.keys.held();
        if keys.published.digest != told.digest {
            told.digest.clone_from(&keys.published.digest);
            self.tell_all(News::Keys(keys.published.clone()));
        }
        while head.number > number {
            let read = store::revocations_since(&self.store, number).await?;
            let Some(newest) = read.entries.last() else { break };
            number = newest.number;
            told.head.number = number;
            self.tell_all(News::Entries { incarnation: head.incarnation, entries: read.entries.into(), now: read.now });
        }
        // After every entry up to its head (V2). A head that no entry led to shows verifiers the gap: they begin anew.
        number = number.max(head.number);
        let beaten = head.beats != told.head.beats && self.store.db.is_shared();
        if heartbeat || beaten {
            let time = if beaten { head.beaten_at.unwrap_or(head.now) } else { head.now };
            self.tell_all(News::Heartbeat { head: number, time, incarnation: head.incarnation, digest: told.digest.clone() });
        }
        told.head = Head { number, ..head };
        Ok(())
    }

    fn tell_all(&self, news: News) {
        let _ = self.news.send(news); // nobody listens
    }

    /// A new subscriber's stream, as long as its service has not too many.
    pub(crate) async fn subscribe(&self, caller: &Caller) -> Result<mpsc::Receiver<Result<WatchResponse, Status>>, Error> {
        let place = self.watchers.admit(caller).map_err(Error::Turned)?;
        let _turn = self.snapshots.acquire().await.ok();
        let news = self.news.subscribe(); // before the snapshot: what comes between is told twice, never not at all
        let (live, head) = self.snapshot().await?;
        self.keys.follow(head.keys).await?;
        let keys = self.keys.held().published.clone();
        let snapshot = Snapshot {
            keys: Some(keys.clone()),
            revocations: live.iter().map(revocation).collect(),
            head: head.number,
            time_us: head.beaten_at.filter(|_| self.store.db.is_shared()).unwrap_or(head.now).as_micros(),
            issuer: self.config.token.issuer.clone(),
            audience: self.config.token.audience.clone(),
            incarnation: head.incarnation.as_bytes().to_vec(),
        };
        let (stream, messages) = mpsc::channel(UNREAD);
        let subscriber =
            Subscriber { news, stopping: self.stopping.clone(), told: head.number, incarnation: head.incarnation, digest: keys.digest };
        tokio::spawn(async move {
            subscriber.run(stream, snapshot).await;
            drop(place);
        });
        Ok(messages)
    }

    /// Where there should be a pulse and is none, this database does not take writes, and what is read from it proves nothing (T5).
    async fn snapshot(&self) -> Result<(Vec<Entry>, Head), Error> {
        let stopped = |head: &Head| head.beaten_at.is_none_or(|at| head.now.since(at) > PULSE_STOPPED);
        let found = store::snapshot(&self.store).await?;
        if !self.store.db.is_shared() || !stopped(&found.1) {
            return Ok(found);
        }
        store::beat(&self.store, &self.pulse, self.config.session.grace).await?;
        let found = store::snapshot(&self.store).await?;
        if stopped(&found.1) { Err(Error::NoPulse) } else { Ok(found) }
    }
}

/// One stream.
struct Subscriber {
    news: broadcast::Receiver<News>,
    stopping: Shutdown,
    /// The highest number it knows.
    told: u64,
    incarnation: Uuid,
    /// Of the keys it has.
    digest: Vec<u8>,
}

impl Subscriber {
    async fn run(mut self, stream: mpsc::Sender<Result<WatchResponse, Status>>, snapshot: Snapshot) {
        let mut next = Ok(Message::Snapshot(snapshot));
        loop {
            let ends = next.is_err();
            let sent = stream.send(next.map(|message| WatchResponse { message: Some(message) }));
            if !matches!(timeout(PATIENCE, sent).await, Ok(Ok(()))) || ends {
                return; // it went away, or reads nothing
            }
            next = loop {
                let heard = tokio::select! {
                    biased;
                    () = stream.closed() => return,
                    () = self.stopping.requested() => return,
                    heard = self.news.recv() => heard,
                };
                match heard {
                    Ok(news) => match self.hear(news) {
                        Some(next) => break next,
                        None => continue,
                    },
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        break Err(Failure::new(Reason::Overloaded).message("fell behind: take a new snapshot").into());
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            };
        }
    }

    /// What of the news concerns this stream. What was said of another life, or vouches for other keys than it has, does not.
    fn hear(&mut self, news: News) -> Option<Result<Message, Status>> {
        match news {
            News::Entries { incarnation, entries, now } if incarnation == self.incarnation => {
                let new: Vec<Revocation> = entries.iter().filter(|entry| entry.number > self.told).map(revocation).collect();
                self.told = new.last()?.number;
                Some(Ok(Message::Entries(Entries { head: self.told, revocations: new, time_us: now.as_micros() })))
            }
            News::Keys(keys) if keys.digest != self.digest => {
                self.digest.clone_from(&keys.digest);
                Some(Ok(Message::Keys(keys)))
            }
            News::Heartbeat { head, time, incarnation, digest } if incarnation == self.incarnation && digest == self.digest => {
                Some(Ok(Message::Heartbeat(Heartbeat {
                    head: head.max(self.told),
                    time_us: time.as_micros(),
                    key_digest: digest,
                    incarnation: incarnation.as_bytes().to_vec(),
                })))
            }
            News::Anew(incarnation) if incarnation != self.incarnation => {
                Some(Err(Failure::new(Reason::Overloaded).message("the database was restored: take a new snapshot").into()))
            }
            News::Entries { .. } | News::Keys(_) | News::Heartbeat { .. } | News::Anew(_) => None,
        }
    }
}

fn revocation(entry: &Entry) -> Revocation {
    Revocation {
        number: entry.number,
        session: entry.session.as_bytes().to_vec(),
        generation: entry.generation.unwrap_or(u64::MAX),
        until_us: entry.until.as_micros(),
        revoked_us: entry.revoked_at.as_micros(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(incarnation: Uuid, digest: &[u8]) -> News {
        News::Heartbeat { head: 0, time: Timestamp::ZERO, incarnation, digest: digest.to_vec() }
    }

    fn subscriber(news: &broadcast::Sender<News>) -> Subscriber {
        Subscriber { news: news.subscribe(), stopping: Shutdown::new(), told: 0, incarnation: Uuid::nil(), digest: vec![1] }
    }

    #[tokio::test]
    async fn v2_who_falls_behind_is_told_to_begin_anew_and_costs_no_memory() {
        let news = broadcast::channel(2).0;
        let subscriber = subscriber(&news);
        (0..5).for_each(|_| drop(news.send(heartbeat(Uuid::nil(), &[1]))));
        let (stream, mut messages) = mpsc::channel(16);
        subscriber.run(stream, Snapshot::default()).await;
        assert!(matches!(messages.recv().await.unwrap().unwrap().message, Some(Message::Snapshot(_))));
        let status = messages.recv().await.unwrap().unwrap_err();
        assert_eq!(Failure::from_status(&status).reason(), Reason::Overloaded);
        assert!(messages.recv().await.is_none());
    }

    #[test]
    fn v2_nothing_of_another_life_and_no_heartbeat_for_other_keys_is_told() {
        let news = broadcast::channel(2).0;
        let mut subscriber = subscriber(&news);
        assert!(subscriber.hear(heartbeat(Uuid::max(), &[1])).is_none());
        assert!(subscriber.hear(heartbeat(Uuid::nil(), &[2])).is_none());
        let entries = News::Entries { incarnation: Uuid::max(), entries: Arc::default(), now: Timestamp::ZERO };
        assert!(subscriber.hear(entries).is_none());
        let keys = KeySet { keys: vec![], digest: vec![2] };
        assert!(matches!(subscriber.hear(News::Keys(keys)), Some(Ok(Message::Keys(_)))));
        assert!(matches!(subscriber.hear(heartbeat(Uuid::nil(), &[2])), Some(Ok(Message::Heartbeat(_)))));
        assert!(subscriber.hear(News::Anew(Uuid::max())).unwrap().is_err());
    }
}
