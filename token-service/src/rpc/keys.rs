//! Listing the keys that sign, letting the next ones sign (K1), and taking away one that somebody else may know.

use std::{sync::Arc, time::Duration};

use carelink_platform::{
    clock::Timestamp,
    events::{Actor, EventType},
};
use carelink_proto::token::{
    KeyState, KeyUse, ListKeysResponse, RotateKeysRequest, RotateKeysResponse, SigningKey, WithdrawKeyRequest, WithdrawKeyResponse,
};
use tokio::time::sleep;
use tonic::Extensions;

use super::{MAX_TEXT_BYTES, micros};
use crate::{
    App, Error,
    domain::{
        keys::{Policy, State},
        session::EndReason,
    },
    keys,
    store::{self, Change, Ending, Keys, Purpose, SealedKey},
};

/// Every replica has heard of a change of keys after so long.
const HEARD: Duration = Duration::from_millis(500);

pub(super) async fn list_keys(app: &App) -> Result<ListKeysResponse, Error> {
    let stored = store::load_keys(&app.store).await?;
    Ok(ListKeysResponse { keys: list(&stored, app.config.token.key_policy()) })
}

pub(super) async fn rotate_keys(app: &App, extensions: &Extensions, request: RotateKeysRequest) -> Result<RotateKeysResponse, Error> {
    check_reason(&request.reason)?;
    let ask = match request.r#use() {
        KeyUse::Unspecified => Purpose::ALL.to_vec(),
        KeyUse::Access => vec![Purpose::Access],
        KeyUse::Refresh => vec![Purpose::Refresh],
    };
    let change = keys::change(&app.config, &app.master, &app.trail, &app.random, &Actor::of(extensions), Some(&request.reason));
    let policy = change.policy;
    let stored = store::change_keys(&app.store, Change { ask: ask.clone(), ..change }).await?.unwrap_or_default();
    app.keys.reload().await?;
    // The next of a key that signs since just now was made just now, and nobody has asked for it.
    let done = ask.iter().all(|purpose| stored.pair(*purpose).is_some_and(|(_, next)| next.life.asked_at.is_none()));
    Ok(RotateKeysResponse { keys: list(&stored, policy), done })
}

/// Nothing that the key signed is believed any more. Access tokens by it are refused; their sessions go on, and their next pair has another
/// key's. Refresh tokens by it could not be told from forged ones: their sessions end.
pub(super) async fn withdraw_key(app: &App, extensions: &Extensions, request: WithdrawKeyRequest) -> Result<WithdrawKeyResponse, Error> {
    check_reason(&request.reason)?;
    let actor = Actor::of(extensions);
    let change = keys::change(&app.config, &app.master, &app.trail, &app.random, &actor, Some(&request.reason));
    let policy = change.policy;
    let withdrawn = store::withdraw_key(&app.store, request.kid.clone(), change).await?;
    app.keys.reload().await?;
    let mut ended = end_sessions_of(app, &actor, &request.kid).await?;
    let stored = match withdrawn {
        Some(stored) => stored,
        // Sent again after it was cut off in between it goes on with that.
        None if ended > 0 => store::load_keys(&app.store).await?,
        None => return Err(Error::NoKey),
    };
    if app.store.db.is_shared() {
        sleep(HEARD).await; // what another replica still signed by it meanwhile
        ended += end_sessions_of(app, &actor, &request.kid).await?;
    }
    tracing::warn!(kid = request.kid, ended, "a key was withdrawn");
    Ok(WithdrawKeyResponse { keys: list(&stored, policy), ended })
}

/// The sessions whose refresh token the key of this id had signed end.
async fn end_sessions_of(app: &App, actor: &Actor, kid: &str) -> Result<u64, Error> {
    let (trail, actor) = (app.trail.clone(), actor.clone());
    let reason = EndReason::KeyWithdrawn;
    let event =
        Arc::new(move |_, now| trail.note(EventType::SessionEnded, now, |event| event.actor(actor.clone()).reason(reason.as_str())));
    let ending = Ending { reason, event };
    let mut ended = 0;
    loop {
        match store::end_sessions_of_key(&app.store, kid, ending.clone()).await? {
            0 => return Ok(ended),
            more => ended += u64::from(more),
        }
    }
}

fn check_reason(reason: &str) -> Result<(), Error> {
    if reason.trim().is_empty() {
        return Err(Error::NoReason);
    }
    if reason.len() > MAX_TEXT_BYTES { Err(Error::Input("a reason has at most 1,000 bytes")) } else { Ok(()) }
}

fn list(stored: &Keys, policy: Policy) -> Vec<SigningKey> {
    stored.keys.iter().map(|key| encode(stored, key, policy)).collect()
}

fn encode(stored: &Keys, key: &SealedKey, policy: Policy) -> SigningKey {
    let (purpose, state) = match (key.purpose, key.life.state()) {
        (purpose, State::Next) => (purpose, KeyState::Next),
        (purpose, State::Signing) => (purpose, KeyState::Signing),
        (purpose, State::Retired) => (purpose, KeyState::Retired),
    };
    let signs = match (state, stored.pair(purpose)) {
        (KeyState::Next, Some((signing, next))) => {
            Some(policy.signs(&signing.life, &next.life).unwrap_or_else(|| policy.may_sign(&next.life)))
        }
        _ => key.life.signs_from,
    };
    SigningKey {
        kid: key.kid.clone(),
        r#use: match purpose {
            Purpose::Access => KeyUse::Access,
            Purpose::Refresh => KeyUse::Refresh,
        }
        .into(),
        state: state.into(),
        created_us: micros(Some(key.life.created_at)),
        signs_us: micros(signs.or(Some(Timestamp::ZERO))),
        retired_us: micros(key.life.retired_at),
        algorithm: if purpose == Purpose::Access { "EdDSA" } else { "HS256" }.to_owned(),
    }
}
