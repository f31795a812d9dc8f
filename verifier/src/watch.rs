//! The client of `token.Watch` (V2): a snapshot, numbered entries, heartbeats; again from a snapshot whenever anything does not fit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carelink_proto::token::{
    Entries, Heartbeat, KeySet, Revocation, Snapshot, WatchRequest, WatchResponse, token_service_client::TokenServiceClient,
    watch_response::Message,
};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::{
    channel::Channel,
    keys::KeyRing,
    report::Reporter,
    revocations::Full,
    state::{STALE_AFTER, State},
    time::{Course, DatabaseTime, Late, Moment},
};

/// Between two looks at what has aged.
const TICK: Duration = Duration::from_secs(1);
/// Waits between two connections double from the first to the second, half of each by chance.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A set that is full will not have room at once.
const FULL_BACKOFF: Duration = Duration::from_secs(30);
/// Entries taken in between two looks at other work.
const BATCH: usize = 4_096;
/// What a revocation is on the wire at most, with room to spare.
const REVOCATION_BYTES: usize = 64;
/// What the rest of a message is at most.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Keeps a verifier's view current, for as long as it runs.
#[must_use = "a verifier sees nothing until its watcher runs"]
pub struct Watcher {
    state: Arc<State>,
    client: TokenServiceClient<Channel>,
    reporter: Reporter,
    jitter: Jitter,
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the other side closed it")]
    Closed,
    #[error("it failed: {0}")]
    Failed(#[from] Status),
    #[error("no heartbeat came in time")]
    Silent,
    #[error(transparent)]
    Late(#[from] Late),
    #[error("revocations are missing")]
    Gap,
    #[error("the key set here is not the one in force")]
    KeysDiffer,
    #[error("the database has been restored")]
    Restored,
    #[error("it brought {0}")]
    Nonsense(&'static str),
    #[error("there is no room for all revocations; raise max_revocations")]
    Full(#[from] Full),
}

impl Ended {
    /// Whether something is known to be missing now, so that the view is stale at once.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Closed | Self::Failed(_) | Self::Silent | Self::Late(_) => false,
            Self::Gap | Self::KeysDiffer | Self::Restored | Self::Nonsense(_) | Self::Full(_) => true,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed(_) => "failed",
            Self::Silent => "silent",
            Self::Late(_) => "late",
            Self::Gap => "gap",
            Self::KeysDiffer => "keys_differ",
            Self::Restored => "restored",
            Self::Nonsense(_) => "nonsense",
            Self::Full(_) => "full",
        }
    }
}

impl Watcher {
    pub(crate) fn new(state: Arc<State>, channel: Channel) -> Self {
        let limit = state.config.max_revocations.saturating_mul(REVOCATION_BYTES).saturating_add(MESSAGE_BYTES);
        let jitter = Jitter::new(state.config.seed);
        let reporter = Reporter::new(Arc::clone(&state), channel.clone());
        Self { state, client: TokenServiceClient::new(channel).max_decoding_message_size(limit), reporter, jitter }
    }

    /// Follows the stream, keeps house and reports, until dropped.
    pub async fn run(self) {
        tokio::join!(self.follow(), self.keep_house(), self.reporter.run());
    }

    async fn keep_house(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_usize.. {
            ticks.tick().await;
            self.state.sweep(turn);
            self.state.publish();
        }
    }

    async fn follow(&self) {
        let mut backoff = BACKOFF.0;
        let mut again = false;
        loop {
            let mut beaten = false;
            let ended = self.follow_one(&mut beaten).await;
            self.state.set_following(false);
            if ended.leaves_doubt() {
                self.state.doubt();
            }
            self.state.publish();
            self.state.metrics.reconnected(ended.name());
            // Connections are renewed now and then, and a break that lasts is told by whoever notices that the view is stale.
            if ended.leaves_doubt() && (beaten || !again) {
                tracing::warn!(%ended, "the Watch stream ended");
            } else {
                tracing::debug!(%ended, "the Watch stream ended");
            }
            again = !beaten;
            backoff = match ended {
                Ended::Full(_) => FULL_BACKOFF,
                _ if beaten => BACKOFF.0,
                _ => (backoff * 2).min(BACKOFF.1),
            };
            sleep(self.jitter.of(backoff)).await;
        }
    }

    /// One connection, from its snapshot to its end; `beaten` once it brought a heartbeat.
    async fn follow_one(&self, beaten: &mut bool) -> Ended {
        let asked = self.state.clock.moment();
        let stream = async {
            let mut stream = self.client.clone().watch(WatchRequest {}).await?.into_inner();
            match next(&mut stream).await? {
                Message::Snapshot(snapshot) => Ok((stream, snapshot)),
                _ => Err(Ended::Nonsense("something before a snapshot")),
            }
        };
        let (mut stream, snapshot) = match timeout(STALE_AFTER, stream).await {
            Err(_) => return Ended::Silent,
            Ok(Err(ended)) => return ended,
            Ok(Ok(begun)) => begun,
        };
        let incarnation = snapshot.incarnation.clone();
        if let Err(ended) = self.begin(asked, snapshot).await {
            return ended;
        }
        self.state.set_following(true);
        let mut deadline = Instant::now() + STALE_AFTER;
        loop {
            self.state.publish();
            let message = match timeout_at(deadline, next(&mut stream)).await {
                Err(_) => return Ended::Silent,
                Ok(Err(ended)) => return ended,
                Ok(Ok(message)) => message,
            };
            let taken = match message {
                Message::Snapshot(_) => Err(Ended::Nonsense("a second snapshot")),
                Message::Entries(entries) => self.take_entries(entries).await,
                Message::Keys(keys) => self.take_keys(&keys),
                Message::Heartbeat(beat) => self.take_heartbeat(&beat, &incarnation).map(|lives| {
                    if lives {
                        *beaten = true;
                        deadline = Instant::now() + STALE_AFTER;
                    }
                }),
            };
            if let Err(ended) = taken {
                return ended;
            }
        }
    }

    /// Keys are replaced, revocations united; only then is it a sign of life, from when it was asked for. Which head was known
    /// before does not matter: this replica may be behind the last one, or tell of another life of the database (R1).
    async fn begin(&self, asked: Moment, snapshot: Snapshot) -> Result<(), Ended> {
        let state = &self.state;
        let time = time(snapshot.time_us)?;
        let keys = snapshot.keys.unwrap_or_default();
        let ring = KeyRing::read(&keys, &snapshot.issuer, &snapshot.audience).ok_or(Ended::Nonsense("no key that can be used"))?;
        let full = self.unite(&snapshot.revocations).await;
        state.replace_ring(ring);
        full?;
        state.set_head(snapshot.head);
        match state.clock.begin(time) {
            Course::Onward(late) => state.sign_of_life(asked.before(late)),
            Course::Behind => tracing::warn!("a snapshot brought a time that is past; waiting for a heartbeat"),
        }
        state.end_doubt();
        Ok(())
    }

    /// Takes all that fit, and only then says that some did not.
    async fn unite(&self, revocations: &[Revocation]) -> Result<(), Ended> {
        let mut result = Ok(());
        for batch in revocations.chunks(BATCH) {
            for revocation in batch {
                result = self.add(revocation).and(result);
            }
            tokio::task::yield_now().await;
        }
        result
    }

    fn add(&self, revocation: &Revocation) -> Result<(), Ended> {
        let session = Uuid::from_slice(&revocation.session).map_err(|_| Ended::Nonsense("a session that is none"))?;
        Ok(self.state.revocations.add(session, revocation.generation, DatabaseTime(revocation.until_us))?)
    }

    /// Entries follow on what is known, number by number; one already known does no harm.
    async fn take_entries(&self, entries: Entries) -> Result<(), Ended> {
        self.unite(&entries.revocations).await?;
        self.measure(&entries);
        let mut head = self.state.head();
        for revocation in &entries.revocations {
            match revocation.number {
                number if number <= head => {}
                number if number == head + 1 => head = number,
                _ => return Err(Ended::Gap),
            }
        }
        if entries.head > head {
            return Err(Ended::Gap);
        }
        self.state.set_head(head);
        Ok(())
    }

    /// How long each took from its commit until it is obeyed here.
    fn measure(&self, entries: &Entries) {
        self.state.metrics.revoked.increment(entries.revocations.len() as u64);
        for revocation in entries.revocations.iter().filter(|told| told.revoked_us > 0 && entries.time_us > 0) {
            let age = self.state.clock.age(DatabaseTime(revocation.revoked_us), DatabaseTime(entries.time_us));
            self.state.metrics.revocation_seconds.record(age.as_secs_f64());
        }
    }

    fn take_keys(&self, keys: &KeySet) -> Result<(), Ended> {
        let ring = self.state.ring.load();
        let ring = ring.as_deref().ok_or(Ended::Nonsense("keys before a snapshot"))?;
        let ring = KeyRing::read(keys, &ring.issuer, &ring.audience).ok_or(Ended::Nonsense("no key that can be used"))?;
        self.state.replace_ring(ring);
        Ok(())
    }

    /// It counts only if it vouches for what is held here. Says whether it is a sign of life.
    fn take_heartbeat(&self, beat: &Heartbeat, incarnation: &[u8]) -> Result<bool, Ended> {
        let time = time(beat.time_us)?;
        if beat.incarnation != incarnation {
            return Err(Ended::Restored);
        }
        if beat.head > self.state.head() {
            return Err(Ended::Gap);
        }
        if beat.key_digest.is_empty() || self.state.ring.load().as_ref().is_none_or(|ring| ring.digest != beat.key_digest) {
            return Err(Ended::KeysDiffer);
        }
        let sent = self.state.clock.beat(time)?;
        if let Some(sent) = sent {
            self.state.sign_of_life(sent);
        }
        Ok(sent.is_some())
    }
}

async fn next(stream: &mut Streaming<WatchResponse>) -> Result<Message, Ended> {
    let response = stream.message().await?.ok_or(Ended::Closed)?;
    response.message.ok_or(Ended::Nonsense("an empty message"))
}

fn time(time_us: i64) -> Result<DatabaseTime, Ended> {
    if time_us > 0 { Ok(DatabaseTime(time_us)) } else { Err(Ended::Nonsense("a time that is none")) }
}

/// Chance for waits, so that a fleet does not come back as one; from a seed always the same.
struct Jitter(AtomicU64);

impl Jitter {
    fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            let _ = aws_lc_rs::rand::fill(&mut bytes); // without chance all wait the same
            u64::from_ne_bytes(bytes)
        });
        Self(AtomicU64::new(seed))
    }

    /// Between half of `wait` and all of it.
    fn of(&self, wait: Duration) -> Duration {
        // SplitMix64
        let mut mixed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [chance, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        wait / 2 + wait / 2 * u32::from(chance) / 255
    }
}
