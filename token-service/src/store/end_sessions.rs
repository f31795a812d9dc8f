//! Every ending (S5): one transaction, idempotent; rows, revocations, events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use carelink_database::{Row, StoreError, Tx, args, outbox, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, first_sight::forget, micros, statements};
use crate::domain::{
    session::{EndReason, Generation, Jti},
    subject::Live,
};

statements! {
    END_SESSION = "end_session" on both;
    FIND_SIGNED_OUT = "find_signed_out";
    REVOKE = "revoke" on both;
    LIVE_SESSIONS_OF = "live_sessions_of" on both;
}

/// How long a revocation outlives the last token it names: a clock that steps back less revives nothing (T1).
const KEEP: Duration = Duration::from_secs(2 * 3_600);

/// An idle end comes so long after the limit: what was used is told at most once a minute, and some time later (S12).
pub(super) const IDLE_MARGIN: Duration = Duration::from_secs(120);

/// Why sessions end, and the event of each.
#[derive(Clone)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// Makes the event of one of them, of this subject; called within the transaction, at its time.
    pub event: Arc<dyn Fn(Uuid, Timestamp) -> Noted + Send + Sync>,
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ending({:?})", self.reason)
    }
}

/// How many were live and are ended now, and the highest revocation number; 0 where none was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many.
    pub count: u32,
    /// The number a verifier must have seen.
    pub revocation: u64,
}

/// What refuses access tokens of a session up to a generation; None: all of them.
pub(super) struct Revocation {
    pub(super) session: Uuid,
    pub(super) generation: Option<Generation>,
    /// The end of the last token it names.
    pub(super) access_until: Timestamp,
}

/// Ends those of the sessions that are not ended.
///
/// # Errors
/// Those of the database; none is ended then.
pub async fn end_sessions(store: &Store, ids: Vec<Uuid>, ending: Ending) -> Result<Ended, StoreError> {
    store.revoking("end_sessions", move |tx| Box::pin(async move { end_and_revoke(tx, ids, &ending).await })).await
}

/// Ends all sessions of a subject that are not ended, but for one.
///
/// # Errors
/// Those of the database; none is ended then.
pub async fn end_sessions_of(store: &Store, subject: Uuid, but: Option<Uuid>, ending: Ending) -> Result<Ended, StoreError> {
    store
        .revoking("end_sessions_of", move |tx| {
            Box::pin(async move {
                forget(tx, subject).await?;
                let ids = live_sessions(tx, [subject]).await?.into_iter().map(|live| live.id).filter(|id| Some(*id) != but).collect();
                end_and_revoke(tx, ids, &ending).await
            })
        })
        .await
}

async fn end_and_revoke(tx: &mut Tx, ids: Vec<Uuid>, ending: &Ending) -> Result<Ended, StoreError> {
    let mut revocations = Vec::new();
    let count = end_each(tx, ids, ending, &mut revocations).await?;
    let revocation = revoke(tx, revocations).await?;
    Ok(Ended { count, revocation })
}

/// A session that its holder signed out of, as it was.
#[derive(Clone, Copy, Debug)]
pub struct SignedOut {
    /// Its generation.
    pub generation: Generation,
    /// Its jti.
    pub jti: Jti,
    /// Whether its time had been up, and only nobody had recorded that.
    pub past_its_end: bool,
    /// The number a verifier must have seen.
    pub revocation: u64,
}

/// Ends one session by its holder. None: it was ended before, by another call, or there is none.
///
/// # Errors
/// Those of the database.
pub async fn sign_out(store: &Store, id: Uuid, call: Option<Uuid>, ending: Ending) -> Result<Option<SignedOut>, StoreError> {
    store
        .revoking("sign_out", move |tx| {
            Box::pin(async move {
                let mut revocations = Vec::new();
                let event = |_, subject, now| (ending.event)(subject, now);
                let ends = BTreeMap::from([(id, ending.reason)]);
                let rows = end_rows(tx, ends, call, &event, &mut revocations).await?;
                let revocation = revoke(tx, revocations).await?;
                let signed_out = |row: &Row, revocation| {
                    Ok(SignedOut {
                        generation: row.get("generation")?,
                        jti: Jti(row.get("jti")?),
                        past_its_end: row.get::<Timestamp>("ends_at")? <= row.get("ended_at")?,
                        revocation,
                    })
                };
                if let (None, Some(call)) = (rows.first(), call) {
                    let before = tx.run(&FIND_SIGNED_OUT, args![id, call]).await?; // it has been sent before
                    return before.first().map(|row| signed_out(row, row.get("revocation")?)).transpose();
                }
                rows.first().map(|row| signed_out(row, revocation)).transpose()
            })
        })
        .await
}

/// Ends within a transaction; what is to be revoked is added to `revocations`.
pub(super) async fn end_each(tx: &mut Tx, ids: Vec<Uuid>, ending: &Ending, revocations: &mut Vec<Revocation>) -> Result<u32, StoreError> {
    let ends = ids.into_iter().map(|id| (id, ending.reason)).collect();
    let rows = end_rows(tx, ends, None, &|_, subject, now| (ending.event)(subject, now), revocations).await?;
    Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

/// The rows that were live and are ended now. They are locked in the order of ids (S11), and their reason is judged again then.
pub(super) async fn end_rows(
    tx: &mut Tx,
    ends: BTreeMap<Uuid, EndReason>,
    call: Option<Uuid>,
    event: &(dyn Fn(EndReason, Uuid, Timestamp) -> Noted + Send + Sync),
    revocations: &mut Vec<Revocation>,
) -> Result<Vec<Row>, StoreError> {
    let end = |(id, reason): (&Uuid, &EndReason)| {
        let (expired, idle) = (*reason == EndReason::Expired, *reason == EndReason::Idle);
        args![*id, reason.as_str(), expired, idle, call, micros(IDLE_MARGIN)]
    };
    let each = ends.iter().map(end).collect();
    let rows = tx.run_each(&END_SESSION, each).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        let (session, subject): (Uuid, Uuid) = (row.get("id")?, row.get("subject")?);
        let reason = ends.get(&session).copied().unwrap_or(EndReason::Revoked);
        let noted = event(reason, subject, row.get("ended_at")?);
        events.push(noted.of_session(subject, session, row.get("events")?));
        revocations.push(Revocation { session, generation: None, access_until: row.get("access_until")? });
    }
    outbox::put_all(tx, events).await?;
    Ok(rows)
}

/// Numbers and stores revocations, last in the transaction (V1). Returns the highest number; 0 where there is none.
pub(super) async fn revoke(tx: &mut Tx, mut revocations: Vec<Revocation>) -> Result<u64, StoreError> {
    if revocations.is_empty() {
        return Ok(0);
    }
    revocations.sort_by_key(|revocation| revocation.session);
    let each = revocations.into_iter().map(|revocation| {
        let Revocation { session, generation, access_until } = revocation;
        args![session, generation, access_until, micros(KEEP)]
    });
    let rows = tx.run_each(&REVOKE, each.collect()).await?;
    rows.iter().try_fold(0, |highest, row| Ok(row.get::<u64>("number")?.max(highest)))
}

/// The sessions of these subjects that are not ended, locked, by id.
pub(super) async fn live_sessions(tx: &mut Tx, subjects: impl IntoIterator<Item = Uuid>) -> Result<Vec<Live>, StoreError> {
    let rows = tx.run_each(&LIVE_SESSIONS_OF, subjects.into_iter().map(|subject| args![subject]).collect()).await?;
    let live = |row: &Row| {
        Ok(Live {
            id: row.get("id")?,
            subject: row.get("subject")?,
            subject_version: row.get("subject_version")?,
            generation: row.get("generation")?,
            roles: row.get("roles")?,
            created_at: row.get("created_at")?,
        })
    };
    rows.iter().map(live).collect()
}
