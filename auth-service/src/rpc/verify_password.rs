//! Signing in with a password (C1 to C5).

use carelink_platform::events::{Actor, EventType};
use carelink_proto::auth::{VerifyPasswordRequest, VerifyPasswordResponse};
use zeroize::Zeroizing;

use super::prove::{Attempt, MAX_TYPED_BYTES, Origin, Proven, Whom, prove};
use crate::{
    App, Error,
    domain::{
        guessing::DEVICE_LIFETIME,
        names,
        user::{Credentials, StoredHash},
    },
    store,
};

pub(super) async fn verify_password(app: &App, presenter: &str, request: VerifyPasswordRequest) -> Result<VerifyPasswordResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let VerifyPasswordRequest { username, password, trim, network, user_agent, known_device, known_origins_only } = request;
    let password = Zeroizing::new(password);
    if username.len() > MAX_TYPED_BYTES || password.len() > MAX_TYPED_BYTES {
        return Err(Error::Input("a name and a password have at most 65,536 bytes each"));
    }
    let name = if trim { names::trim(&username) } else { &username };
    let from = Origin { known_only: known_origins_only, ..Origin::new(app, network, user_agent, &known_device) };
    let Proven { credentials, outdated } = prove(app, Attempt { whom: Whom::Name(name), password: &password, trim, from: &from }).await?;
    let answer = succeed(app, presenter, &credentials, &from).await?;
    if let Some(fitting) = outdated {
        upgrade_afterwards(app, credentials, fitting);
    }
    Ok(answer)
}

/// Signs what was read together with the hash (G1), and says so in the trail before anybody hears of it.
async fn succeed(app: &App, presenter: &str, credentials: &Credentials, from: &Origin) -> Result<VerifyPasswordResponse, Error> {
    let subject = &credentials.user.subject;
    let (trail, now) = (&app.store.trail, app.store.trail.now());
    let event = trail.note(EventType::SignInSucceeded, now, |event| {
        let event = event.actor(Actor::User(subject.id)).subject(subject.id).detail("hasher", credentials.hash.stored().hasher());
        event.personal(trail.sealing(), &from.personal)
    });
    store::record_sign_in(&app.store, subject.id, &from.network, event).await?;
    Ok(VerifyPasswordResponse {
        assertion: app.signer.sign(app.store.random.uuid_v7(now), subject, presenter, now),
        known_device: app.origins.device(subject.id, now, &app.store.random),
        known_device_seconds: u32::try_from(DEVICE_LIFETIME.as_secs()).unwrap_or(u32::MAX),
    })
}

/// Writes the hash anew once the answer is out. Where there is no room now, the next sign-in does it.
fn upgrade_afterwards(app: &App, credentials: Credentials, fitting: Zeroizing<Vec<u8>>) {
    let app_then = app.clone();
    let context = carelink_platform::context::RequestContext::current();
    let upgrade = async move {
        let app = app_then;
        let Some(from) = credentials.user.cost_class.or_else(|| credentials.hash.stored().cost_class()) else { return };
        let Ok(new) = app.pool.hash(fitting).await else { return };
        let (id, to) = (credentials.user.subject.id, app.pool.own_class());
        if let Err(error) = store::upgrade_password(&app.store, id, from, credentials.hash, StoredHash::new(new), to).await {
            tracing::warn!(%error, "a password hash could not be upgraded; the next sign-in tries again");
        }
    };
    match context {
        Some(context) => drop(app.afterwards.spawn(context.scope(upgrade))),
        None => drop(app.afterwards.spawn(upgrade)),
    }
}
