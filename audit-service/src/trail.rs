//! The trail as the RPCs and the service itself use it: what this service does is an event like any other, written straight in.

use carelink_database::{Db, StoreError};
use carelink_platform::{
    events::{EventBuilder, EventType},
    random::Random,
    seal::SealingKeyPair,
};

use crate::{
    domain::append::Record,
    store::{self, Appended},
};

/// Who this service is, where it acts by itself and where it writes its own events.
pub(crate) const SERVICE: &str = "audit-service";

/// What every use case needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    pub(crate) db: Db,
    pub(crate) sealing: SealingKeyPair,
    pub(crate) random: Random,
}

impl Trail {
    /// An event of this service, happening now, in the trace of the request being served.
    pub(crate) fn event(&self, kind: EventType) -> EventBuilder {
        let now = self.db.clock().now();
        EventBuilder::new("audit", kind, self.random.uuid_v7(now), now)
    }

    /// Writes events of this service down; durable when it returns.
    pub(crate) async fn record(&self, events: Vec<EventBuilder>) -> Result<Appended, StoreError> {
        store::append(&self.db, events.into_iter().map(|event| Record::read(event.encode(), SERVICE)).collect()).await
    }
}
