//! Wiring: opens the trail, writes into it what starting means, puts the RPCs behind their stack. Decides nothing.

use std::sync::Arc;

use carelink_database::{Location, StoreError};
use carelink_platform::{
    clock::Clock,
    config,
    errors::Failure,
    events::{Actor, EventBuilder, EventType, Object},
    grpc::{Due, Hooks, Refusals, Refused, Stack},
    lifecycle::Shutdown,
    operations::{LogChange, Told},
    random::Random,
    seal::{SealingKeyPair, SealingPublicKey},
};
use carelink_proto::audit::audit_service_server::AuditServiceServer;
use tonic::service::Routes;

use crate::{
    CALLERS, Config, Error,
    domain::append::Record,
    store,
    trail::{SERVICE, Trail},
};

/// A batch of events, with room to spare.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What the service is built from.
#[derive(Debug)]
pub struct Options {
    /// The section `audit`.
    pub config: Config,
    /// Where the trail is.
    pub database: Location,
    /// The clock behind the database's.
    pub clock: Clock,
    /// Ids.
    pub random: Random,
    /// What personal parts are sealed to, and opened with.
    pub sealing: SealingKeyPair,
    /// How the token of a user for whom the gateway reads is verified. Refused calls are recorded here, whatever it says of them.
    pub hooks: Hooks,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    trail: Trail,
    stack: Stack,
    refusals: Refusals,
}

impl App {
    /// Opens the trail, brings its schema up to date and records that.
    ///
    /// # Errors
    /// Where the database cannot be used.
    pub async fn build(options: Options) -> Result<Self, Error> {
        let Options { config, database, clock, random, sealing, hooks } = options;
        let trail = Trail { db: store::open(database, clock).await?, sealing, random: random.clone() };
        let refusals = Refusals::default();
        let hooks = Hooks { on_refused: Some(Arc::new(note_refusals(trail.clone(), refusals.clone()))), ..hooks };
        let routes = Routes::new(AuditServiceServer::new(trail.clone()).max_decoding_message_size(MAX_REQUEST_BYTES));
        let stack = Stack::new(routes, CALLERS, hooks, random);
        record_build(&trail, &config).await?;
        Ok(Self { trail, stack, refusals })
    }

    /// The RPCs behind their layers, for calls within the process and for a socket.
    pub fn stack(&self) -> Stack {
        self.stack.clone()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.trail.db.ping().await
    }

    /// What producers seal personal parts to.
    pub fn sealing_key(&self) -> &SealingPublicKey {
        self.trail.sealing.public()
    }

    /// For what operators do in this process.
    pub fn told(&self) -> Told {
        let trail = self.trail.clone();
        let refused = note_refusals(trail.clone(), self.refusals.clone());
        let changed = move |change: LogChange| {
            let trail = trail.clone();
            async move {
                let event = change.tell(trail.event(EventType::LogChanged), trail.sealing.public());
                trail.record(vec![event]).await.map(|_| ()).map_err(Failure::from)
            }
        };
        Told::new(changed, Arc::new(refused))
    }

    /// Records that a key was made that belongs to no service alone, such as the data directory's master key.
    ///
    /// # Errors
    /// Where the trail cannot be written.
    pub async fn record_key(&self, id: &str, used_for: &'static str) -> Result<(), Error> {
        let created = self.own(EventType::KeyCreated).object(Object::key(id)).detail("use", used_for);
        self.trail.record(vec![created]).await.map(|_| ()).map_err(Error::from)
    }

    /// Runs until the stop is requested; records that it began, every refused call, and that it ended.
    pub async fn run(self, shutdown: Shutdown) {
        self.record(vec![self.own(EventType::ServiceStarted)]).await;
        loop {
            tokio::select! {
                biased;
                due = self.refusals.due() => self.record(self.refused(due)).await,
                () = shutdown.requested() => break,
            }
        }
        let mut last = self.refused(self.refusals.rest());
        last.push(self.own(EventType::ServiceStopped));
        self.record(last).await;
        self.trail.db.checkpoint().await;
    }

    fn own(&self, kind: EventType) -> EventBuilder {
        self.trail.event(kind).actor(Actor::Service(SERVICE.to_owned()))
    }

    fn refused(&self, due: Vec<Due>) -> Vec<EventBuilder> {
        let event = |due: Due| {
            let at = due.at;
            due.event(|kind, tell| tell(EventBuilder::new("audit", kind, self.trail.random.uuid_v7(at), at)))
        };
        due.into_iter().map(event).collect()
    }

    async fn record(&self, events: Vec<EventBuilder>) {
        let count = events.len();
        if let Err(error) = self.trail.record(events).await {
            tracing::error!(%error, count, "events of the audit service itself could not be stored");
        }
    }
}

/// The configuration, the steps of the schema and a new sealing key are in the trail before anything else of this start.
async fn record_build(trail: &Trail, config: &Config) -> Result<(), Error> {
    let own = |kind| trail.event(kind).actor(Actor::Service(SERVICE.to_owned()));
    let mut events = vec![own(EventType::ConfigLoaded).object(Object::configuration(&config::fingerprint(config)))];
    events.extend(trail.db.applied().iter().map(|name| own(EventType::MigrationRun).object(Object::migration(trail.db.schema(), name))));
    let records: Vec<Record> = events.into_iter().map(|event| Record::read(event.encode(), SERVICE)).collect();
    let key_id = trail.sealing.public().id().to_owned();
    let key_created = Record::read(own(EventType::KeyCreated).object(Object::key(&key_id)).detail("use", "personal").encode(), SERVICE);
    let written = trail.db.transaction("record_build", move |tx| {
        Box::pin(async move {
            let mut records = records;
            if store::note_sealing_key(tx, &key_id).await? {
                records.push(key_created);
            }
            store::append_within(tx, records).await
        })
    });
    written.await.map(|_| ()).map_err(|error: StoreError| error.into())
}

/// Notes refused calls, which become events at a bounded rate. What finds no room is counted.
fn note_refusals(trail: Trail, refusals: Refusals) -> impl Fn(Refused) + Send + Sync {
    move |refused| {
        if !refusals.note(refused, trail.db.clock().now()) {
            metrics::counter!("carelink_events_dropped_total", "service" => SERVICE).increment(1);
        }
    }
}
