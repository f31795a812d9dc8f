//! The predecessor's outstanding tokens (L3, L5).

use std::sync::Arc;

use carelink_platform::{
    clock::Timestamp,
    events::{Actor, EventType},
};
use carelink_proto::token::{ImportSessionsRequest, ImportSessionsResponse, LegacyHolder, LegacyToken};
use tonic::Extensions;

use super::uuid;
use crate::{
    App, Error,
    domain::{import::Outstanding, legacy, session::EndReason},
    store::{self, Ending, ImportedToken},
};

const MAX_TOKENS: usize = 1_000;
/// SimpleJWT's column is no wider.
const MAX_JTI_BYTES: usize = 255;

pub(super) async fn import_sessions(
    app: &App,
    extensions: &Extensions,
    request: ImportSessionsRequest,
) -> Result<ImportSessionsResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    if request.tokens.len() > MAX_TOKENS || request.holders.len() > MAX_TOKENS {
        return Err(Error::Input("at most 1,000 tokens or holders at a time"));
    }
    // A dry run may come before the source is registered: nothing is written then.
    let accepted_until = match store::find_source(&app.store, &request.source).await? {
        Some(until) => until,
        None if request.dry_run => Timestamp::MAX,
        None => return Err(Error::NoSource),
    };
    let holder = |holder: &LegacyHolder| Ok::<_, Error>((holder.legacy_id, uuid(&holder.subject, "a subject id has 16 bytes")?));
    let holders = request.holders.iter().map(holder).collect::<Result<Vec<_>, _>>()?;
    if !holders.is_empty() && !request.dry_run {
        store::remember_holders(&app.store, request.source.clone(), holders).await?;
    }
    let tokens = request.tokens.iter().map(|token| decode(&request.source, token)).collect::<Result<Vec<_>, _>>()?;
    let (trail, actor) = (app.trail.clone(), Actor::of(extensions));
    let reason = EndReason::Blacklisted;
    let event =
        Arc::new(move |_, now| trail.note(EventType::SessionEnded, now, |event| event.actor(actor.clone()).reason(reason.as_str())));
    let outcomes = store::import_sessions(&app.store, tokens, accepted_until, request.dry_run, Ending { reason, event }).await?;
    Ok(ImportSessionsResponse { outcomes: outcomes.into_iter().map(Into::into).collect() })
}

fn decode(source: &str, token: &LegacyToken) -> Result<ImportedToken, Error> {
    if token.jti.len() > MAX_JTI_BYTES {
        return Err(Error::Input("a jti has at most 255 bytes"));
    }
    let subject = if token.subject.is_empty() { None } else { Some(uuid(&token.subject, "a subject id has 16 bytes")?) };
    Ok(ImportedToken {
        session: legacy::session_id(source, &token.jti),
        jti: legacy::first_jti(source, &token.jti),
        subject,
        created: Timestamp::from_micros(token.created_us),
        outstanding: Outstanding { expires: Timestamp::from_micros(token.expires_us), blacklisted: token.blacklisted },
    })
}
