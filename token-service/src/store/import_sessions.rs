//! The predecessor's outstanding tokens as sessions (L3, L5).

use std::collections::{BTreeMap, BTreeSet};

use carelink_database::{Row, StoreError, Tx, args};
use carelink_platform::clock::Timestamp;
use carelink_proto::token::LegacyTokenOutcome;
use uuid::Uuid;

use super::{
    Ending, Store,
    end_sessions::{end_each, revoke},
    statements,
    subjects::find,
};
use crate::domain::{
    import::{Decision, Here, Outstanding, decide},
    session::{EndReason, Jti},
};

statements! {
    FIND_IMPORTED = "find_imported" on both;
    IMPORT_SESSION = "import_session" on both;
}

/// A token of the source.
#[derive(Clone, Debug)]
pub struct ImportedToken {
    /// The session it becomes.
    pub session: Uuid,
    /// Its jti.
    pub jti: Jti,
    /// Its holder here; None: refused or unknown.
    pub subject: Option<Uuid>,
    /// When it was issued.
    pub created: Timestamp,
    /// What the source says of it.
    pub outstanding: Outstanding,
}

/// Decides and writes a batch; a dry run decides only. Past `accepted_until` no session of the source goes on.
///
/// # Errors
/// Those of the database; nothing of the batch is written then.
pub async fn import_sessions(
    store: &Store,
    tokens: Vec<ImportedToken>,
    accepted_until: Timestamp,
    dry_run: bool,
    blacklisted: Ending,
) -> Result<Vec<LegacyTokenOutcome>, StoreError> {
    store
        .revoking("import_sessions", move |tx| {
            Box::pin(async move {
                let now = tx.now().await?;
                let holders: BTreeSet<Uuid> = tokens.iter().filter_map(|token| token.subject).collect();
                let holders = if holders.is_empty() { BTreeMap::new() } else { find(tx, holders).await? };
                let mut here = find_imported(tx, &tokens).await?;
                let (mut outcomes, mut revocations) = (Vec::with_capacity(tokens.len()), Vec::new());
                let (mut begun, mut ended) = (Vec::new(), Vec::new());
                for token in tokens {
                    let holder = token.subject.and_then(|subject| holders.get(&subject));
                    let ends_at = token.outstanding.expires.min(accepted_until);
                    let outstanding = Outstanding { expires: ends_at, ..token.outstanding };
                    let known = here.get(&token.session).copied();
                    let decision = decide(outstanding, holder.map(|holder| holder.active), known, now);
                    outcomes.push(decision.outcome());
                    if dry_run {
                        continue;
                    }
                    let recorded = match decision {
                        Decision::Begin => None,
                        Decision::RecordEnded(reason) => Some(reason),
                        Decision::End => {
                            ended.push(token.session);
                            here.insert(token.session, Here { live: false, unmoved: true });
                            continue;
                        }
                        Decision::Leave(_) => continue,
                    };
                    let Some(holder) = holder else { continue };
                    here.insert(token.session, Here { live: recorded.is_none(), unmoved: true });
                    begun.push(args![
                        token.session,
                        holder.id,
                        holder.user_id,
                        holder.version,
                        token.jti.0,
                        &holder.roles,
                        token.created.min(now),
                        ends_at,
                        recorded.map(|_| now),
                        recorded.map(EndReason::as_str),
                    ]);
                }
                if !begun.is_empty() {
                    tx.run_each(&IMPORT_SESSION, begun).await?;
                }
                if !ended.is_empty() {
                    end_each(tx, ended, &blacklisted, &mut revocations).await?;
                }
                revoke(tx, revocations).await?;
                Ok(outcomes)
            })
        })
        .await
}

/// What is here of these tokens, locked.
async fn find_imported(tx: &mut Tx, tokens: &[ImportedToken]) -> Result<BTreeMap<Uuid, Here>, StoreError> {
    let ids: BTreeSet<Uuid> = tokens.iter().map(|token| token.session).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = tx.run_each(&FIND_IMPORTED, ids.into_iter().map(|id| args![id]).collect()).await?;
    let here = |row: &Row| {
        let ended: Option<Timestamp> = row.get("ended_at")?;
        Ok((row.get("id")?, Here { live: ended.is_none(), unmoved: row.get::<u64>("generation")? == 0 }))
    };
    rows.iter().map(here).collect()
}
