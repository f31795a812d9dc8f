//! Signing in with a password (C1 to C3).

use std::time::Instant;

use carelink_platform::events::{Actor, EventBuilder, EventType, Object};
use carelink_proto::{
    audit::Personal,
    auth::{VerifyPasswordRequest, VerifyPasswordResponse},
};
use tokio::time::sleep_until;
use zeroize::Zeroizing;

use crate::{
    App, Error,
    domain::{
        names, password,
        sign_in::{self, Failed, Trial},
        user::{Credentials, StoredHash},
    },
    pool::Checked,
    store,
};

/// More than any form lets through; what follows takes time in proportion.
const MAX_TYPED_BYTES: usize = 64 * 1024;
const MAX_USER_AGENT_BYTES: usize = 256;

pub(super) async fn verify_password(app: &App, presenter: &str, request: VerifyPasswordRequest) -> Result<VerifyPasswordResponse, Error> {
    app.store.trail.admit().map_err(Error::Backlog)?;
    let VerifyPasswordRequest { username, password, trim, network, user_agent } = request;
    let password = Zeroizing::new(password);
    if username.len() > MAX_TYPED_BYTES || password.len() > MAX_TYPED_BYTES {
        return Err(Error::Input("a name and a password have at most 65,536 bytes each"));
    }
    if let Err(full) = app.pool.admits() {
        return turned_away(app, full.into()).await;
    }
    let name = if trim { names::trim(&username) } else { &username };
    let found = store::find_for_sign_in(&app.store, name).await?;
    let from = Personal { network, user_agent: shortened(user_agent), text: String::new() };

    if let Some(class) = found.as_ref().and_then(|credentials| credentials.user.cost_class) {
        app.met(class);
    }
    let (dearest, _) = app.dearest();
    let trial = Trial::of(found.as_ref(), app.config.allow_md5, dearest);
    let tries = password::tries(&password, trim, trial.form);
    let checked = match app.pool.check(trial.against.clone(), tries.clone()).await {
        Ok(checked) => checked,
        Err(full) => return turned_away(app, full.into()).await,
    };

    match (found, trial.outcome(checked.fits)) {
        (Some(credentials), Ok(at)) => {
            let assertion = succeed(app, presenter, &credentials, &from).await?;
            if let Some(fitting) = tries.into_iter().nth(at).filter(|_| trial.against.outdated(app.config.argon2)) {
                upgrade_afterwards(app, credentials, fitting);
            }
            Ok(VerifyPasswordResponse { assertion })
        }
        (found, outcome) => {
            let failed = outcome.err().unwrap_or(Failed::UserUnknown);
            fail(app, name, found.as_ref(), failed, &from).await?;
            wait_for_floor(app, checked).await;
            Err(Error::Credentials)
        }
    }
}

/// Signs what was read together with the hash (G1), and says so in the trail before anybody hears of it.
async fn succeed(app: &App, presenter: &str, credentials: &Credentials, from: &Personal) -> Result<String, Error> {
    let subject = &credentials.user.subject;
    let (trail, now) = (&app.store.trail, app.store.trail.now());
    let event = trail.note(EventType::SignInSucceeded, now, |event| {
        let event = event.actor(Actor::User(subject.id)).subject(subject.id).detail("hasher", credentials.hash.stored().hasher());
        event.personal(trail.sealing(), from)
    });
    store::record_sign_in(&app.store, subject.id, event).await?;
    Ok(app.signer.sign(app.store.random.uuid_v7(now), subject, presenter, now))
}

/// Says in the trail why a sign-in failed; of a name that nobody has, only its HMAC (A2).
async fn fail(app: &App, name: &str, found: Option<&Credentials>, failed: Failed, from: &Personal) -> Result<(), Error> {
    let (trail, now) = (&app.store.trail, app.store.trail.now());
    let whom = |event: EventBuilder| match found {
        Some(credentials) => event.subject(credentials.user.subject.id),
        None => event.object(Object::name_digest(&app.name_digest(name))),
    };
    let event = trail.note(EventType::SignInFailed, now, |event| {
        whom(event.actor(Actor::Anonymous).reason(failed.as_str())).personal(trail.sealing(), from)
    });
    Ok(store::record_failure(&app.store, event).await?)
}

/// Answers a failure no sooner than the dearest one would take, asleep and without a hashing thread (C3).
async fn wait_for_floor(app: &App, checked: Checked) {
    let (_, dearest) = app.dearest();
    let floor = sign_in::floor(app.config.failure_floor, dearest, checked.tries);
    sleep_until((checked.began + floor).into()).await;
}

/// The queue is full: nothing was hashed, nothing counted.
async fn turned_away(app: &App, error: Error) -> Result<VerifyPasswordResponse, Error> {
    if let (Error::Throttled { .. }, Some(count)) = (&error, app.throttled.count(Instant::now())) {
        let trail = &app.store.trail;
        let event = trail.note(EventType::SignInThrottled, trail.now(), |event| {
            event.actor(Actor::Anonymous).reason("hashing_queue_full").detail("count", count)
        });
        trail.record(vec![event]).await?;
    }
    Err(error)
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

/// Cut at a character, at most so long.
fn shortened(mut text: String) -> String {
    let mut end = text.len().min(MAX_USER_AGENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
