//! The one stream (V2): a snapshot, then entries without gaps, and a heartbeat every second that follows a successful read.
//!
//! One task a replica reads the database and tells every subscriber. Who falls behind is told to begin anew.

use std::{sync::Arc, time::Duration};

use carelink_database::StoreError;
use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
    lifecycle::Shutdown,
};
use carelink_proto::token::{Entries, Heartbeat, KeySet, Revocation, Snapshot, WatchResponse, watch_response::Message};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, sleep_until},
};
use tonic::Status;

use crate::store::{self, Entry, Store};

/// How often there is a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How many messages a subscriber may lag behind.
const BUFFER: usize = 1_024;

/// What subscribers are told.
#[derive(Clone, Debug)]
enum News {
    Entries(Arc<[Entry]>),
    Heartbeat { head: u64, now: Timestamp },
}

/// Tells every subscriber. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    store: Store,
    keys: KeySet,
    issuer: String,
    audience: String,
    news: broadcast::Sender<News>,
    /// The highest number at the beginning.
    head: u64,
    stopping: Shutdown,
}

impl Feed {
    /// Tells what is revoked from now on.
    pub(crate) async fn open(store: Store, keys: KeySet, issuer: String, audience: String) -> Result<Self, StoreError> {
        let head = store::head(&store).await?.0;
        Ok(Self { store, keys, issuer, audience, news: broadcast::channel(BUFFER).0, head, stopping: Shutdown::new() })
    }

    /// Reads what was revoked and tells it, until the stop is requested; then every stream ends.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        let mut told = self.head;
        let mut beat = Instant::now();
        loop {
            let due = Instant::now() >= beat;
            match self.tell(&mut told, due).await {
                Ok(()) if due => beat = Instant::now() + HEARTBEAT,
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "revocations cannot be read: verifiers hear no heartbeat");
                    beat = Instant::now() + HEARTBEAT;
                }
            }
            tokio::select! {
                () = self.store.revoked.notified() => {}
                () = sleep_until(beat) => {}
                () = shutdown.requested() => break,
            }
        }
        self.stopping.request();
    }

    async fn tell(&self, told: &mut u64, heartbeat: bool) -> Result<(), StoreError> {
        let beat = if heartbeat { Some(store::head(&self.store).await?) } else { None };
        loop {
            let entries = store::revocations_since(&self.store, *told).await?;
            let Some(newest) = entries.last() else { break };
            *told = newest.number;
            let _ = self.news.send(News::Entries(entries.into())); // nobody listens
        }
        // After every entry up to its head (V2). A head that no entry led to shows verifiers the gap: they begin anew.
        if let Some((head, now)) = beat {
            *told = head.max(*told);
            let _ = self.news.send(News::Heartbeat { head: *told, now });
        }
        Ok(())
    }

    /// A new subscriber's stream.
    pub(crate) async fn subscribe(&self) -> Result<mpsc::Receiver<Result<WatchResponse, Status>>, StoreError> {
        let mut news = self.news.subscribe(); // before the snapshot: what comes between is told twice, never not at all
        let (live, head, now) = store::snapshot(&self.store).await?;
        let snapshot = Snapshot {
            keys: Some(self.keys.clone()),
            revocations: live.iter().map(revocation).collect(),
            head,
            time_us: now.as_micros(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            ..Snapshot::default()
        };
        let (stream, messages) = mpsc::channel(16);
        let (digest, stopping) = (self.keys.digest.clone(), self.stopping.clone());
        tokio::spawn(async move {
            let mut told = head;
            let mut next = Ok(Message::Snapshot(snapshot));
            loop {
                let ends = next.is_err();
                if stream.send(next.map(|message| WatchResponse { message: Some(message) })).await.is_err() || ends {
                    return;
                }
                next = loop {
                    let heard = tokio::select! {
                        heard = news.recv() => heard,
                        () = stopping.requested() => Err(broadcast::error::RecvError::Closed),
                        () = stream.closed() => return,
                    };
                    match heard {
                        Ok(News::Entries(entries)) => {
                            let new: Vec<Revocation> = entries.iter().filter(|entry| entry.number > told).map(revocation).collect();
                            if let Some(newest) = new.last() {
                                told = newest.number;
                                break Ok(Message::Entries(Entries { head: told, revocations: new, ..Entries::default() }));
                            }
                        }
                        Ok(News::Heartbeat { head, now }) => {
                            break Ok(Message::Heartbeat(Heartbeat {
                                head: head.max(told),
                                time_us: now.as_micros(),
                                key_digest: digest.clone(),
                                ..Heartbeat::default()
                            }));
                        }
                        Err(broadcast::error::RecvError::Lagged(_)) => {
                            break Err(Failure::new(Reason::Overloaded).message("fell behind: take a new snapshot").into());
                        }
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                };
            }
        });
        Ok(messages)
    }
}

fn revocation(entry: &Entry) -> Revocation {
    Revocation {
        number: entry.number,
        session: entry.session.as_bytes().to_vec(),
        generation: entry.generation.unwrap_or(u64::MAX),
        until_us: entry.until.as_micros(),
        ..Revocation::default()
    }
}
