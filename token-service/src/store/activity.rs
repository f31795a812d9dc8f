//! What verifiers saw of sessions (S12): written in batches, and who of them has told all of it.

use std::{collections::BTreeMap, time::Duration};

use carelink_database::{StoreError, args};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, micros, statements};
use crate::domain::session::Generation;

statements! {
    REPORT_ACTIVITY = "report_activity" on both;
    REPORT_REPORTER = "report_reporter";
}

/// A session that idleness does not end is written anew only when it was used so much later.
const SPARE: Duration = Duration::from_secs(600);

/// What a verifier saw of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The highest generation whose access token came.
    pub generation: Generation,
    /// When it was used; the beginning of time: only in the background.
    pub at: Timestamp,
}

/// What a verifier tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who tells it.
    pub reporter: Uuid,
    /// By session.
    pub used: BTreeMap<Uuid, Used>,
    /// Up to when nothing is missing; the beginning of time: something is.
    pub complete_until: Timestamp,
    /// How long it accepts tokens without a word from here.
    pub trusted_for: Duration,
}

/// Writes it.
///
/// # Errors
/// Those of the database; nothing is written then.
pub async fn report(store: &Store, report: Report) -> Result<(), StoreError> {
    store
        .db
        .transaction("report_activity", move |tx| {
            Box::pin(async move {
                let each = |(session, used): (&Uuid, &Used)| args![*session, used.generation, used.at, micros(SPARE)];
                tx.run_each(&REPORT_ACTIVITY, report.used.iter().map(each).collect()).await?;
                tx.run(&REPORT_REPORTER, args![report.reporter, report.complete_until, micros(report.trusted_for)]).await.map(|_| ())
            })
        })
        .await
}
