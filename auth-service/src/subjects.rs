//! Delivers snapshots to token-service: at once, before the answer, and by the relay whatever could not be (U2, U3).

use std::{collections::HashMap, time::Duration};

use carelink_database::{
    outbox::{self, Relay, Waiting},
    trail::Noted,
};
use carelink_platform::{
    errors::{Failure, Reason},
    events::{EventBuilder, EventType},
    grpc::Channel,
};
use carelink_proto::token::{self as proto, ApplySubjectsRequest, token_service_client::TokenServiceClient};
use prost::Message;
use uuid::Uuid;

use crate::store::{self, Pending, SUBJECTS, Store};

/// How long whoever changed a user delivers it alone; then the relay does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer waits for the delivery.
const AT_ONCE: Duration = Duration::from_secs(3);
/// How many snapshots a call takes.
const BATCH: usize = 500;

/// The way to token-service.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    pub(crate) store: Store,
    pub(crate) token: TokenServiceClient<Channel>,
}

/// What came of delivering.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// The highest revocation number that came of it; 0 for none.
    pub(crate) revocation: u64,
    /// How many snapshots are not acknowledged yet; the relay goes on trying.
    pub(crate) waiting: usize,
}

impl Subjects {
    /// Delivers what was just committed. Failing is no error: the outbox has it.
    pub(crate) async fn deliver(&self, pending: impl IntoIterator<Item = Pending>) -> Delivered {
        let pending: Vec<Pending> = pending.into_iter().collect();
        let mut delivered = Delivered::default();
        for batch in pending.chunks(BATCH) {
            if delivered.pending() {
                delivered.waiting += batch.len(); // it would not be acknowledged either
                continue;
            }
            let subjects = batch.iter().map(|one| proto::Subject::from(&one.subject)).collect();
            let sent = tokio::time::timeout(AT_ONCE, self.send(subjects)).await;
            let settled = match sent {
                Ok(Ok(revocation)) => {
                    delivered.revocation = delivered.revocation.max(revocation);
                    let ids: Vec<i64> = batch.iter().map(|one| one.outbox_id).collect();
                    outbox::delete(&self.store.db, &ids).await.map_err(Failure::from)
                }
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(Failure::new(Reason::DeadlineExceeded)),
            };
            if let Err(failure) = settled {
                tracing::warn!(%failure, count = batch.len(), "token-service has not acknowledged a change of users; the outbox goes on trying");
                delivered.waiting += batch.len();
            }
        }
        delivered
    }

    /// Sends snapshots; those that token-service holds a higher version of are raised past it and sent again (U2).
    async fn send(&self, subjects: Vec<proto::Subject>) -> Result<u64, Failure> {
        let sent: HashMap<Vec<u8>, u64> = subjects.iter().map(|subject| (subject.id.clone(), subject.version)).collect();
        let answer = self.token.clone().apply_subjects(ApplySubjectsRequest { subjects }).await;
        let answer = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        let ahead = answer.subjects.into_iter().filter(|held| sent.get(&held.id).is_some_and(|version| *version < held.held_version));
        let mut raised = Vec::new();
        for held in ahead {
            let Ok(id) = Uuid::from_slice(&held.id) else { continue };
            if let Some(pending) = store::raise_past(&self.store, id, held.held_version).await? {
                tracing::error!(subject = %id, held = held.held_version, "token-service knew a newer version of this user: was this database restored? Raised past it");
                metrics::counter!("carelink_subjects_raised_total").increment(1);
                raised.push(pending);
            }
        }
        if raised.is_empty() {
            return Ok(answer.revocation);
        }
        let subjects = raised.iter().map(|one| proto::Subject::from(&one.subject)).collect();
        let again = self.token.clone().apply_subjects(ApplySubjectsRequest { subjects }).await;
        let again = again.map_err(|status| Failure::from_status(&status))?.into_inner();
        let ids: Vec<i64> = raised.iter().map(|one| one.outbox_id).collect();
        outbox::delete(&self.store.db, &ids).await?;
        Ok(answer.revocation.max(again.revocation))
    }

    /// Delivers what nobody could at once.
    pub(crate) fn relay(&self) -> Relay {
        let subjects = self.clone();
        let deliver = move |rows| -> futures::future::BoxFuture<'static, Result<(), Failure>> {
            let subjects = subjects.clone();
            Box::pin(async move { subjects.deliver_late(rows).await })
        };
        Relay::new(self.store.db.clone(), SUBJECTS, self.store.random.clone(), deliver).after(PATIENCE)
    }

    async fn deliver_late(&self, rows: Vec<Waiting>) -> Result<(), Failure> {
        // Of several versions of a user only the last matters.
        let mut newest: HashMap<Vec<u8>, proto::Subject> = HashMap::new();
        for row in &rows {
            let Ok(subject) = proto::Subject::decode(row.body.as_slice()) else {
                tracing::error!(row = row.id, "a snapshot in the outbox cannot be read; dropped");
                continue;
            };
            if newest.get(&subject.id).is_none_or(|known| known.version < subject.version) {
                newest.insert(subject.id.clone(), subject);
            }
        }
        self.send(newest.into_values().collect()).await?;
        let now = self.store.trail.now();
        let late = |row: &Waiting| {
            let event = EventBuilder::new("auth", EventType::SubjectDeliveredLate, row.event_id, now); // under the row's id: told once
            let event = event.actor(self.store.trail.actor()).detail("delay_ms", now.since(row.created_at));
            let event = row.subject.map_or(event.clone(), |subject| event.subject(subject));
            Noted { id: row.event_id, body: event.encode() }
        };
        self.store.trail.record(rows.iter().map(late).collect()).await.map_err(Failure::from)
    }
}

impl Delivered {
    /// Whether token-service has not acknowledged yet (U3).
    pub(crate) fn pending(self) -> bool {
        self.waiting > 0
    }
}
