//! Listing the keys that sign, and letting the next ones sign (K1).

use carelink_platform::{clock::Timestamp, events::Actor};
use carelink_proto::token::{KeyState, KeyUse, ListKeysResponse, RotateKeysRequest, RotateKeysResponse, SigningKey};
use tonic::Extensions;

use super::{MAX_TEXT_BYTES, micros};
use crate::{
    App, Error,
    domain::keys::{Policy, State},
    keys,
    store::{self, Change, Keys, Purpose, SealedKey},
};

pub(super) async fn list_keys(app: &App) -> Result<ListKeysResponse, Error> {
    let stored = store::load_keys(&app.store).await?;
    Ok(ListKeysResponse { keys: list(&stored, app.config.token.key_policy()) })
}

pub(super) async fn rotate_keys(app: &App, extensions: &Extensions, request: RotateKeysRequest) -> Result<RotateKeysResponse, Error> {
    if request.reason.trim().is_empty() {
        return Err(Error::NoReason);
    }
    if request.reason.len() > MAX_TEXT_BYTES {
        return Err(Error::Input("a reason has at most 1,000 bytes"));
    }
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
    }
}
