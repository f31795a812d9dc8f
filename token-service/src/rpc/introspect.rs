//! Introspection (RFC 7662): one query, never an ending (S9). The same judgement serves users in whose name a service calls (G2).

use carelink_platform::{errors::Failure, grpc::User};
use carelink_proto::token::{AccessClaims as ProtoClaims, IntrospectRequest, IntrospectResponse};

use super::read_refresh;
use crate::{
    App, Error,
    domain::{
        access::AccessClaims,
        presented::{Unreadable, names_another_key},
        refresh::{Again, Outcome, judge},
        service::ServiceClaims,
        session::EndReason,
    },
    store,
};

pub(super) async fn introspect(app: &App, request: IntrospectRequest) -> Result<IntrospectResponse, Error> {
    let token = &request.token;
    let held = app.held();
    if !held.mint.access.is_ours(token) && !held.mint.refresh.is_ours(token) && names_another_key(token) {
        app.keys.look_again(&held).await?;
    }
    let access = &app.held().mint.access;
    let (kind, judged) = if access.read(token).is_ok() {
        ("access", verify_access(app, token).await.map(Some))
    } else if let Ok(claims) = access.read_service(token) {
        (ServiceClaims::TYPE, verify_service(app, &claims).map(|()| None))
    } else {
        ("refresh", verify_refresh(app, token).await.map(|()| None))
    };
    match judged {
        Ok(claims) => {
            Ok(IntrospectResponse { active: true, reason: String::new(), token_type: kind.to_owned(), claims: claims.map(encode) })
        }
        Err(error @ (Error::Token(_) | Error::Refused(_))) => {
            let token_type = if matches!(error, Error::Token(Unreadable::Invalid)) { "" } else { kind }.to_owned();
            Ok(IntrospectResponse { active: false, reason: Failure::from(error).reason().as_str().to_owned(), token_type, claims: None })
        }
        Err(error) => Err(error),
    }
}

async fn verify_refresh(app: &App, token: &str) -> Result<(), Error> {
    let presented = read_refresh(app, token).await?;
    let found = store::find_session(&app.store, presented.session).await?;
    let judged =
        found.map_or(Some(Outcome::Expired), |found| judge(&presented, &found, Again { grace: app.config.session.grace, call: None }));
    match judged {
        None | Some(Outcome::Replayed) => Ok(()),
        Some(outcome) => Err(Error::Refused(outcome)),
    }
}

/// An access token of ours, whatever has become of its session, and past its end as well.
pub(super) fn genuine_access(app: &App, token: &str) -> Result<AccessClaims, Error> {
    let claims = app.held().mint.access.read(token)?;
    if claims.iss != app.config.token.issuer || claims.aud != app.config.token.audience {
        return Err(Unreadable::Invalid.into());
    }
    Ok(claims)
}

/// Judges an access token by its session's row.
async fn verify_access(app: &App, token: &str) -> Result<AccessClaims, Error> {
    let claims = genuine_access(app, token)?;
    let found = store::find_session(&app.store, claims.sid).await?.ok_or(Error::Refused(Outcome::Expired))?;
    if let Some((_, reason)) = found.session.ended {
        return Err(Error::Refused(Outcome::Ended(reason)));
    }
    if found.session.refused_generation.is_some_and(|refused| claims.r#gen <= refused) {
        return Err(Error::Refused(Outcome::Ended(EndReason::Revoked)));
    }
    if found.now.as_secs() >= claims.exp {
        return Err(Unreadable::Expired.into());
    }
    Ok(claims)
}

/// A service's token has no row: it ends by itself.
fn verify_service(app: &App, claims: &ServiceClaims) -> Result<(), Error> {
    if claims.iss != app.config.token.issuer {
        return Err(Unreadable::Invalid.into());
    }
    if app.now().as_secs() >= claims.exp { Err(Unreadable::Expired.into()) } else { Ok(()) }
}

/// The user whose token came along, judged by this service's own rows.
pub(crate) async fn verify_user(app: &App, token: &str) -> Result<User, Error> {
    let claims = verify_access(app, token).await?;
    Ok(User { subject: claims.sub, user_id: claims.user_id, session: claims.sid, roles: claims.roles.into(), stale: false })
}

fn encode(claims: AccessClaims) -> ProtoClaims {
    ProtoClaims {
        issuer: claims.iss,
        audience: vec![claims.aud],
        subject: claims.sub.as_bytes().to_vec(),
        user_id: claims.user_id,
        session: claims.sid.as_bytes().to_vec(),
        generation: claims.r#gen,
        roles: claims.roles,
        amr: claims.amr,
        acr: claims.acr,
        auth_time: claims.auth_time,
        issued_at: claims.iat,
        expires: claims.exp,
        jti: claims.jti,
    }
}
