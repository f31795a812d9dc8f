//! Wiring: opens the database and the keys, puts the RPCs behind their stack. Decides nothing.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use carelink_database::{Location, backlog::BacklogConfig, lease::Lease, trail::Trail};
use carelink_platform::clock::Clock;
use carelink_platform::{
    clock::Timestamp,
    config,
    context::RequestContext,
    events::EventType,
    grpc::{Channel, Hooks, Stack},
    lifecycle::Shutdown,
    random::Random,
    seal::SealingPublicKey,
    secrets::{MasterKey, SecretString},
};
use carelink_proto::{audit::audit_service_client::AuditServiceClient, token::token_service_server::TokenServiceServer};
use tokio::time::{Instant, sleep};
use tonic::service::Routes;

use crate::{
    CALLERS, Config, Error,
    config::REFRESH_DEADLINE,
    domain::{
        assertion::PinnedKeys,
        legacy::{self, Source},
        mint::Mint,
        session::EndReason,
    },
    feed::Feed,
    keys, rpc,
    store::{self, Ending, Store},
};

/// How often what ages is swept (T1).
const SWEEP: Duration = Duration::from_secs(60);
/// A clock that jumps further is an event (T1).
const STEP: Duration = Duration::from_secs(5);

/// What the service is built from.
#[derive(Debug)]
pub struct Options {
    /// Sections `session`, `token`, `legacy`.
    pub config: Config,
    /// Section `audit`: what to do while the trail does not keep up (A6).
    pub backlog: BacklogConfig,
    /// Where the database is.
    pub database: Location,
    /// The clock behind the database's.
    pub clock: Clock,
    /// Ids, jtis, keys.
    pub random: Random,
    /// What this service's keys are sealed under.
    pub master: MasterKey,
    /// What personal parts of events are sealed to.
    pub sealing: SealingPublicKey,
    /// The keys of auth-service that are believed (G1).
    pub assertion_keys: Vec<[u8; 32]>,
    /// Where events go.
    pub audit: AuditServiceClient<Channel>,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) mint: Arc<Mint>,
    pub(crate) pinned: Arc<PinnedKeys>,
    pub(crate) sources: Arc<ArcSwap<Vec<Source>>>,
    pub(crate) trail: Trail,
    pub(crate) feed: Feed,
    pub(crate) random: Random,
    pub(crate) master: MasterKey,
    audit: AuditServiceClient<Channel>,
}

impl App {
    /// Opens everything; nothing runs yet.
    ///
    /// # Errors
    /// Where the database or a key cannot be used.
    pub async fn build(options: Options) -> Result<Self, Error> {
        let Options { config, backlog, database, clock, random, master, sealing, assertion_keys, audit } = options;
        let store = Store::open(database, clock, random.clone()).await?;
        let trail = Trail::new(store.db.clone(), "token", "token-service", random.clone(), sealing).under(backlog);
        trail.record_build(&config::fingerprint(&config)).await?;
        let (access, refresh) = keys::open(&store, &master, &trail, &random).await?;
        let mint = Arc::new(Mint::new(access, refresh, &config.token.issuer, &config.token.audience));
        let feed = Feed::open(store.clone(), keys::key_set(&mint), config.token.issuer.clone(), config.token.audience.clone()).await?;
        let app = Self {
            config: Arc::new(config),
            store,
            mint,
            pinned: Arc::new(PinnedKeys::new(assertion_keys)),
            sources: Arc::default(),
            trail,
            feed,
            random,
            master,
            audit,
        };
        app.load_sources().await?;
        Ok(app)
    }

    /// The RPCs behind their layers, for calls within the process and for a socket.
    pub fn stack(&self) -> Stack {
        let verifying = self.clone();
        let hooks = Hooks {
            verify_user: Some(Arc::new(move |token| {
                let app = verifying.clone();
                Box::pin(async move { rpc::verify_user(&app, &token).await.map_err(Into::into) })
            })),
            on_refused: Some(self.trail.on_refused()),
        };
        Stack::new(Routes::new(TokenServiceServer::new(rpc::Rpc(self.clone()))), CALLERS, hooks, self.random.clone())
    }

    /// The database, for whoever looks behind the RPCs.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock that sessions are judged by.
    pub fn clock(&self) -> Clock {
        self.store.db.clock().clone()
    }

    /// Runs until the stop is requested, then delivers what the trail still has to hear.
    pub async fn run(self, shutdown: Shutdown) {
        let relay = self.trail.relay(self.audit.clone());
        let delivery = Shutdown::new();
        let delivering = tokio::spawn(relay.run(delivery.clone()));
        tokio::join!(self.trail.run(&shutdown), self.tell_verifiers(&shutdown), self.sweep(&shutdown), self.watch_clock(&shutdown));
        delivery.request();
        let _ = delivering.await; // ends by itself
        self.store.db.checkpoint().await;
    }

    /// Of all that [`Self::run`] does only the stream of revocations (V2).
    pub async fn tell_verifiers(&self, shutdown: &Shutdown) {
        self.feed.run(shutdown).await;
    }

    /// The database's time by which a refresh must have come to its turn (T4).
    pub(crate) fn refresh_deadline(&self) -> Timestamp {
        let left = RequestContext::remaining().unwrap_or(REFRESH_DEADLINE).min(REFRESH_DEADLINE);
        self.now() + left
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.db.clock().now()
    }

    /// Takes up the keys of predecessors as they are stored.
    pub(crate) async fn load_sources(&self) -> Result<(), Error> {
        let mut sources = Vec::new();
        for stored in store::load_sources(&self.store).await? {
            let key = self.master.open(keys::SOURCES_SEALED_FOR, &stored.sealed_key, stored.name.as_bytes())?;
            let secret = SecretString::from(String::from_utf8_lossy(&key).into_owned());
            if let Some(algorithm) = legacy::algorithm(&stored.algorithm) {
                sources.push(Source::new(&stored.name, &secret, algorithm));
            }
        }
        self.sources.store(Arc::new(sources));
        Ok(())
    }

    /// Ends what is past its end and deletes what is old, under a lease.
    async fn sweep(&self, shutdown: &Shutdown) {
        let lease = Lease::new("sweep", &self.random);
        let trail = self.trail.clone();
        let event = Arc::new(move |_, now| {
            trail.note(EventType::SessionEnded, now, |event| event.actor(trail.actor()).reason(EndReason::Expired.as_str()))
        });
        let ending = Ending { reason: EndReason::Expired, event };
        loop {
            let batch = async {
                match lease.acquire(&self.store.db).await? {
                    Some(_) => store::sweep(&self.store, ending.clone()).await,
                    None => Ok((0, false)),
                }
            };
            let more = match batch.await {
                Ok((_, more)) => more,
                Err(error) => {
                    tracing::warn!(%error, "sweeping failed; trying again in a minute");
                    false
                }
            };
            let pause = if more { Duration::ZERO } else { SWEEP };
            tokio::select! { () = sleep(pause) => {}, () = shutdown.requested() => return }
        }
    }

    /// Notices a clock that jumps (T1). It is followed, never frozen.
    async fn watch_clock(&self, shutdown: &Shutdown) {
        loop {
            let (before, began) = (self.now(), Instant::now());
            tokio::select! { () = sleep(Duration::from_secs(1)) => {}, () = shutdown.requested() => return }
            let expected = before + began.elapsed();
            let now = self.now();
            let step = now.since(expected).max(expected.since(now));
            if step > STEP {
                let ahead = now > expected;
                tracing::error!(step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX), ahead, "the clock jumped");
                let event = self.trail.note(EventType::ClockStepped, now, |event| {
                    event.actor(self.trail.actor()).detail("step_ms", step).detail("ahead", ahead)
                });
                if let Err(error) = self.trail.record(vec![event]).await {
                    tracing::error!(%error, "the jump of the clock could not be recorded");
                }
            }
        }
    }
}
