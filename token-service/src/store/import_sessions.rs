//! The predecessor's outstanding tokens as sessions (L3, L5).

use carelink_database::{StoreError, args};
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
    FIND_IMPORTED = "find_session";
    IMPORT_SESSION = "import_session";
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
                let (mut outcomes, mut revocations) = (Vec::with_capacity(tokens.len()), Vec::new());
                for token in tokens {
                    let here = match tx.run(&FIND_IMPORTED, args![token.session]).await?.first() {
                        None => None,
                        Some(row) => {
                            let session = super::rows::session(row)?;
                            Some(Here { live: session.ended.is_none(), unmoved: session.generation == 0 })
                        }
                    };
                    let holder = match token.subject {
                        None => None,
                        Some(subject) => find(tx, subject).await?,
                    };
                    let ends_at = token.outstanding.expires.min(accepted_until);
                    let outstanding = Outstanding { expires: ends_at, ..token.outstanding };
                    let decision = decide(outstanding, holder.as_ref().map(|holder| holder.active), here, now);
                    outcomes.push(decision.outcome());
                    if dry_run {
                        continue;
                    }
                    let ended = match (decision, holder) {
                        (Decision::Begin, Some(holder)) => Some((holder, None)),
                        (Decision::RecordEnded(reason), Some(holder)) => Some((holder, Some(reason))),
                        (Decision::End, _) => {
                            end_each(tx, vec![token.session], &blacklisted, &mut revocations).await?;
                            None
                        }
                        _ => None,
                    };
                    if let Some((holder, reason)) = ended {
                        let insert = args![
                            token.session,
                            holder.id,
                            holder.user_id,
                            holder.version,
                            token.jti.0,
                            holder.roles,
                            token.created.min(now),
                            ends_at,
                            reason.map(|_| now),
                            reason.map(EndReason::as_str),
                        ];
                        tx.run(&IMPORT_SESSION, insert).await?;
                    }
                }
                revoke(tx, revocations).await?;
                Ok(outcomes)
            })
        })
        .await
}
