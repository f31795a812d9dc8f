//! The producers' end of the trail: events into the outbox, and from there to the audit service (A1).

use std::sync::Arc;

use carelink_platform::{
    clock::Timestamp,
    errors::Failure,
    events::{Actor, EventBuilder, EventType, Object, stamp},
    grpc::{Channel, Due, Refusals, Refused},
    lifecycle::Shutdown,
    operations::{LogChange, Told},
    random::Random,
    seal::SealingPublicKey,
};
use carelink_proto::audit::{AppendRequest, audit_service_client::AuditServiceClient};
use uuid::Uuid;

use crate::{
    Db, StoreError,
    backlog::{Backlog, BacklogConfig},
    outbox::{self, Outgoing, Relay, Waiting},
};

/// The destination of events.
pub const AUDIT: &str = "audit";

/// An event on its way into the outbox.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Its id.
    pub id: Uuid,
    /// Its encoding.
    pub body: Vec<u8>,
}

impl Noted {
    /// The event as it is.
    pub fn outgoing(self) -> Outgoing {
        Outgoing { destination: AUDIT, event_id: self.id, subject: None, session: None, counter: None, body: self.body }
    }

    /// The event, completed by what only the session's row knew.
    pub fn of_session(self, subject: Uuid, session: Uuid, counter: u64) -> Outgoing {
        Outgoing { subject: Some(subject), session: Some(session), counter: Some(counter), ..self.outgoing() }
    }
}

/// What a service writes into the trail by. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trail {
    db: Db,
    /// `auth`, `token`: as events name their writer.
    name: &'static str,
    /// `auth-service`, `token-service`: who the service is where it acts by itself.
    identity: &'static str,
    random: Random,
    sealing: SealingPublicKey,
    backlog: Backlog,
    refusals: Refusals,
}

impl Trail {
    /// For the service `name` that calls itself `identity`.
    pub fn new(db: Db, name: &'static str, identity: &'static str, random: Random, sealing: SealingPublicKey) -> Self {
        Self { db, name, identity, random, sealing, backlog: Backlog::default(), refusals: Refusals::default() }
    }

    /// Under the section `audit` (A6).
    #[must_use]
    pub fn under(self, config: BacklogConfig) -> Self {
        Self { backlog: Backlog::new(config), ..self }
    }

    /// Whether something that would write an event may be done (A6). Not to be asked before what takes something away.
    ///
    /// # Errors
    /// Where `audit.policy` is to refuse and the trail is too far behind.
    pub fn admit(&self) -> Result<(), Failure> {
        self.backlog.admit()
    }

    /// What personal parts are sealed to.
    pub fn sealing(&self) -> &SealingPublicKey {
        &self.sealing
    }

    /// The database's clock.
    pub fn now(&self) -> Timestamp {
        self.db.clock().now()
    }

    /// Who the service is where it acts by itself.
    pub fn actor(&self) -> Actor {
        Actor::Service(self.identity.to_owned())
    }

    /// Makes an event of this service: the closure says what it tells, at a fresh id.
    pub fn note(&self, kind: EventType, now: Timestamp, tell: impl FnOnce(EventBuilder) -> EventBuilder) -> Noted {
        let id = self.random.uuid_v7(now);
        Noted { id, body: tell(EventBuilder::new(self.name, kind, id, now)).encode() }
    }

    /// Writes events that come with no other change.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record(&self, events: Vec<Noted>) -> Result<(), StoreError> {
        outbox::put_alone(&self.db, events.into_iter().map(Noted::outgoing).collect()).await.map(|_| ())
    }

    /// What starting means: the configuration that was read, the steps of the schema that were run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record_build(&self, fingerprint: &str) -> Result<(), StoreError> {
        let now = self.now();
        let own = |kind, object| self.note(kind, now, |event| event.actor(self.actor()).object(object));
        let mut events = vec![own(EventType::ConfigLoaded, Object::configuration(fingerprint))];
        events.extend(self.db.applied().iter().map(|step| own(EventType::MigrationRun, Object::migration(self.db.schema(), step))));
        self.record(events).await
    }

    /// For the stack: refused calls become events, at a bounded rate; those that find no room are counted.
    pub fn on_refused(&self) -> Arc<dyn Fn(Refused) + Send + Sync> {
        let trail = self.clone();
        Arc::new(move |refused| {
            if !trail.refusals.note(refused, trail.now()) {
                metrics::counter!("carelink_events_dropped_total", "service" => trail.identity).increment(1);
            }
        })
    }

    /// For what operators do in this process.
    pub fn told(&self) -> Told {
        let trail = self.clone();
        let changed = move |change: LogChange| {
            let trail = trail.clone();
            async move {
                let noted = trail.note(EventType::LogChanged, trail.now(), |event| change.tell(event, trail.sealing()));
                trail.record(vec![noted]).await.map_err(Failure::from)
            }
        };
        Told::new(changed, self.on_refused())
    }

    fn refused(&self, due: Vec<Due>) -> Vec<Noted> {
        let note = |due: Due| {
            let at = due.at;
            due.event(|kind, tell| self.note(kind, at, tell))
        };
        due.into_iter().map(note).collect()
    }

    /// Records that the service began, every refused call, and that it ended; returns when the stop is requested.
    pub async fn run(&self, shutdown: &Shutdown) {
        self.record_own(EventType::ServiceStarted).await;
        loop {
            tokio::select! {
                due = self.refusals.due() => self.try_record(self.refused(due)).await,
                () = shutdown.requested() => break,
            }
        }
        self.try_record(self.refused(self.refusals.rest())).await;
        self.record_own(EventType::ServiceStopped).await;
    }

    async fn record_own(&self, kind: EventType) {
        self.try_record(vec![self.note(kind, self.now(), |event| event.actor(self.actor()))]).await;
    }

    async fn try_record(&self, events: Vec<Noted>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.record(events).await {
            tracing::error!(%error, service = self.identity, "events of the service itself could not be stored");
        }
    }

    /// Delivers events to the audit service.
    pub fn relay(&self, audit: AuditServiceClient<Channel>) -> Relay {
        let relay = Relay::new(self.db.clone(), AUDIT, self.random.clone(), move |rows| {
            let mut audit = audit.clone();
            Box::pin(async move {
                let events = rows.into_iter().map(encode).collect();
                audit.append(AppendRequest { events }).await.map(|_| ()).map_err(|status| Failure::from_status(&status))
            })
        });
        relay.watched_by(self.backlog.clone())
    }
}

fn encode(row: Waiting) -> Vec<u8> {
    let mut body = row.body;
    stamp(&mut body, row.subject, row.session, row.counter);
    body
}
