//! Trying a password (C2 to C5): a try is reserved, made, and told; the same work and the same answer whoever was named.

use std::time::{Duration, Instant};

use carelink_platform::events::{Actor, EventBuilder, EventType, Object};
use carelink_proto::audit::Personal;
use tokio::time::sleep_until;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    App, Error,
    domain::{
        guessing::{Guesses, NetworkKey, Way},
        password,
        sign_in::{self, Failed, Trial},
        user::Credentials,
    },
    pool::Checked,
    store::{self, Try},
    throttled::Throttled,
};

/// More than any form lets through; what follows takes time in proportion.
pub(super) const MAX_TYPED_BYTES: usize = 64 * 1024;
const MAX_USER_AGENT_BYTES: usize = 256;
/// When to come again to an account that is closed to guesses: it opens by no time, but by its user or an operator.
const CLOSED: Duration = Duration::from_secs(60);

/// Whose password is tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom<'a> {
    /// Whoever has this name or address.
    Name(&'a str),
    /// A user whom a token names already.
    User(Uuid),
}

/// A password as it came.
pub(super) struct Attempt<'a> {
    pub(super) whom: Whom<'a>,
    pub(super) password: &'a str,
    /// Whether it is tried trimmed as well (C2).
    pub(super) trim: bool,
    pub(super) from: &'a Origin,
}

/// From where somebody tries.
pub(super) struct Origin {
    pub(super) personal: Personal,
    pub(super) network: NetworkKey,
    /// Whom their device is known of.
    pub(super) device: Option<Uuid>,
    /// Whether strangers are turned away whatever they may still guess (C4).
    pub(super) known_only: bool,
}

/// Somebody who proved who they are.
pub(super) struct Proven {
    pub(super) credentials: Credentials,
    /// The password, where its hash is to be made anew.
    pub(super) outdated: Option<Zeroizing<Vec<u8>>>,
}

impl Origin {
    /// As a request says it.
    pub(super) fn new(app: &App, network: String, user_agent: String, known_device: &str) -> Self {
        Self {
            network: app.origins.network(&network),
            device: app.origins.known(known_device, app.store.trail.now()),
            personal: Personal { network, user_agent: shortened(user_agent), text: String::new() },
            known_only: false,
        }
    }
}

/// Tries a password.
pub(super) async fn prove(app: &App, attempt: Attempt<'_>) -> Result<Proven, Error> {
    let Attempt { whom, password, trim, from } = attempt;
    if let Err(full) = app.pool.admits() {
        return turned_away(app, full.into()).await;
    }
    let origin = store::From { network: &from.network, device: from.device, known_only: from.known_only };
    let Try { account, way, reserved, found } = match whom {
        Whom::Name(name) => store::reserve_sign_in(&app.store, name, app.unknown(name), origin).await?,
        Whom::User(id) => store::reserve_own(&app.store, id, origin).await?,
    };
    let Some(guesses) = reserved else { return closed(app, way).await };

    if let Some(class) = found.as_ref().and_then(|credentials| credentials.user.cost_class) {
        app.met(class);
    }
    let (dearest, _) = app.dearest();
    let trial = Trial::of(found.as_ref(), app.config.allow_md5, dearest);
    let tries = password::tries(password, trim, trial.form);
    let checked = match app.pool.check(trial.against.clone(), tries.clone()).await {
        Ok(checked) => checked,
        Err(full) => {
            store::refund(&app.store, account, way, &from.network).await?;
            return turned_away(app, full.into()).await;
        }
    };

    match (found, trial.outcome(checked.fits)) {
        (Some(credentials), Ok(at)) => {
            let outdated = tries.into_iter().nth(at).filter(|_| trial.against.outdated(app.config.argon2));
            Ok(Proven { credentials, outdated })
        }
        (found, outcome) => {
            let failed = outcome.err().unwrap_or(Failed::UserUnknown);
            fail(app, Failure { account, found: found.as_ref(), failed, way, guesses, from }).await?;
            wait_for_floor(app, checked).await;
            Err(Error::Credentials)
        }
    }
}

/// A try that came to nothing.
struct Failure<'a> {
    account: Uuid,
    found: Option<&'a Credentials>,
    failed: Failed,
    way: Way,
    guesses: Guesses,
    from: &'a Origin,
}

/// Says in the trail why a try failed, and what it closed; of a name that nobody has, only its HMAC (A2).
async fn fail(app: &App, failure: Failure<'_>) -> Result<(), Error> {
    let Failure { account, found, failed, way, guesses, from } = failure;
    let (trail, now) = (&app.store.trail, app.store.trail.now());
    let whom = |event: EventBuilder| match found {
        Some(credentials) => event.subject(credentials.user.subject.id),
        None => event.object(Object::name_digest(account.as_bytes())),
    };
    let mut events = vec![trail.note(EventType::SignInFailed, now, |event| {
        whom(event.actor(Actor::Anonymous).reason(failed.as_str())).personal(trail.sealing(), &from.personal)
    })];
    if let Some(what) = guesses.just_closed(way, &from.network) {
        metrics::counter!("carelink_guessing_closed_total", "way" => what).increment(1);
        events.push(trail.note(EventType::GuessingClosed, now, |event| {
            whom(event.actor(Actor::Anonymous).reason(what)).personal(trail.sealing(), &from.personal)
        }));
    }
    Ok(store::record_failure(&app.store, events).await?)
}

/// Answers a failure no sooner than the dearest one would take, asleep and without a hashing thread (C3).
async fn wait_for_floor(app: &App, checked: Checked) {
    let (_, dearest) = app.dearest();
    let floor = sign_in::floor(app.config.failure_floor, dearest, checked.tries);
    sleep_until((checked.began + floor).into()).await;
}

/// The queue is full: nothing was hashed, nothing counted.
async fn turned_away<T>(app: &App, error: Error) -> Result<T, Error> {
    if matches!(error, Error::Throttled { .. }) {
        tell(app, &app.throttled, "hashing_queue_full").await?;
    }
    Err(error)
}

/// The way they come by is closed: nothing was hashed, nothing counted (C4).
async fn closed<T>(app: &App, way: Way) -> Result<T, Error> {
    metrics::counter!("carelink_guesses_refused_total", "way" => way.as_str()).increment(1);
    tell(app, &app.guesses_refused, "guesses_used_up").await?;
    Err(Error::GuessesUsedUp { retry_after: app.store.random.jitter(CLOSED, 0.2) })
}

/// Tells the trail of what was turned away, now and then.
async fn tell(app: &App, counted: &Throttled, reason: &'static str) -> Result<(), Error> {
    let Some(count) = counted.count(Instant::now()) else { return Ok(()) };
    let trail = &app.store.trail;
    let event =
        trail.note(EventType::SignInThrottled, trail.now(), |event| event.actor(Actor::Anonymous).reason(reason).detail("count", count));
    Ok(trail.record(vec![event]).await?)
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
