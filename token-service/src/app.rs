//! Wiring: opens the database and the keys, puts the RPCs behind their stack. Decides nothing.

use std::sync::Arc;

use carelink_database::{Location, backlog::BacklogConfig, lease::Lease, trail::Trail};
use carelink_platform::clock::Clock;
use carelink_platform::{
    clock::Timestamp,
    config,
    context::RequestContext,
    grpc::{Channel, Hooks, Stack},
    lifecycle::Shutdown,
    operations::Told,
    random::Random,
    seal::SealingPublicKey,
    secrets::MasterKey,
};
use carelink_proto::{audit::audit_service_client::AuditServiceClient, token::token_service_server::TokenServiceServer};
use tonic::service::Routes;

use crate::{
    CALLERS, Config, Error,
    config::REFRESH_DEADLINE,
    domain::assertion::PinnedKeys,
    feed::Feed,
    keys::{Held, Keys},
    rpc,
    store::Store,
    upkeep::PULSE_LEASE,
};

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
    pub(crate) keys: Keys,
    pub(crate) pinned: Arc<PinnedKeys>,
    pub(crate) trail: Trail,
    pub(crate) feed: Feed,
    pub(crate) pulse: Lease,
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
        let config = Arc::new(config);
        let keys = Keys::open(store.clone(), master.clone(), Arc::clone(&config), &trail, &random).await?;
        let pulse = Lease::lasting("pulse", PULSE_LEASE, &random);
        let feed = Feed::open(store.clone(), keys.clone(), Arc::clone(&config), pulse.clone()).await?;
        Ok(Self { config, store, keys, pinned: Arc::new(PinnedKeys::new(assertion_keys)), trail, feed, pulse, random, master, audit })
    }

    /// The RPCs behind their layers, for calls within the process and for a socket.
    pub fn stack(&self) -> Stack {
        let verifying = self.clone();
        let hooks = Hooks {
            verify_user: Some(Arc::new(move |token, _| {
                let app = verifying.clone();
                Box::pin(async move { rpc::verify_user(&app, &token).await.map_err(Into::into) })
            })),
            on_refused: Some(self.trail.on_refused()),
        };
        Stack::new(Routes::new(TokenServiceServer::new(rpc::Rpc(self.clone()))), CALLERS, hooks, self.random.clone())
    }

    /// For what operators do in this process.
    pub fn told(&self) -> Told {
        self.trail.told()
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
        tokio::join!(
            Box::pin(self.trail.run(&shutdown)),
            Box::pin(self.tell_verifiers(&shutdown)),
            Box::pin(self.beat(&shutdown)),
            Box::pin(self.sweep(&shutdown)),
            Box::pin(self.keep_keys(&shutdown)),
            Box::pin(self.watch_clock(&shutdown)),
        );
        delivery.request();
        let _ = delivering.await; // ends by itself
        self.store.db.checkpoint().await;
    }

    /// Of all that [`Self::run`] does only the stream of revocations (V2).
    pub async fn tell_verifiers(&self, shutdown: &Shutdown) {
        self.feed.run(shutdown).await;
    }

    /// The database's time by which a refresh must have come to its turn (T4): as long from now as the call may take, and where its caller
    /// knew the database's time (`told_us`) no later than that said, however long the call was on its way.
    pub(crate) fn refresh_deadline(&self, told_us: i64) -> Timestamp {
        let left = RequestContext::remaining().unwrap_or(REFRESH_DEADLINE).min(REFRESH_DEADLINE);
        let deadline = self.now() + left;
        if told_us > 0 { deadline.min(Timestamp::from_micros(told_us)) } else { deadline }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.db.clock().now()
    }

    /// What is signed and read with.
    pub(crate) fn held(&self) -> Arc<Held> {
        self.keys.held()
    }
}
