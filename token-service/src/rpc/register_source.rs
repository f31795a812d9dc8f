//! Making a predecessor's database known (L1, L3). Its SECRET_KEY never leaves this service again.

use carelink_platform::events::{Actor, EventType, Object};
use carelink_proto::token::{RegisterSourceRequest, RegisterSourceResponse};
use tonic::Extensions;

use crate::{
    App, Error,
    domain::legacy,
    keys::SOURCES_SEALED_FOR,
    store::{self, Registered, StoredSource},
};

const MAX_NAME_BYTES: usize = 64;
const MAX_KEY_BYTES: usize = 4_096;

pub(super) async fn register_source(
    app: &App,
    extensions: &Extensions,
    request: RegisterSourceRequest,
) -> Result<RegisterSourceResponse, Error> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if request.source.is_empty() || request.source.len() > MAX_NAME_BYTES || !request.source.bytes().all(named) {
        return Err(Error::Input("a source's name has 1 to 64 letters, digits, dots, underscores and hyphens"));
    }
    if request.secret_key.len() > MAX_KEY_BYTES {
        return Err(Error::Input("a SECRET_KEY has at most 4,096 bytes"));
    }
    let algorithm = if request.algorithm.is_empty() { "HS256".to_owned() } else { request.algorithm };
    legacy::algorithm(&algorithm).ok_or(Error::Input("the algorithm is HS256, HS384 or HS512"))?;
    let before = store::load_sources(&app.store).await?.into_iter().find(|stored| stored.name == request.source);
    let (key, name) = (request.secret_key.as_bytes(), request.source.as_bytes());
    let same = |stored: &StoredSource| {
        stored.algorithm == algorithm && app.master.open(SOURCES_SEALED_FOR, &stored.sealed_key, name).is_ok_and(|held| *held == *key)
    };
    let new = !key.is_empty() && !before.as_ref().is_some_and(same);
    let event = || {
        app.trail.note(EventType::KeyCreated, app.now(), |event| {
            let event = event.actor(Actor::of(extensions)).object(Object::source(&request.source));
            event.detail("use", "legacy").detail("replaced", before.is_some())
        })
    };
    let sealed_key = new.then(|| (app.master.seal(SOURCES_SEALED_FOR, &app.random, key, name), event()));
    let registered = Registered {
        name: request.source.clone(),
        algorithm,
        sealed_key,
        max_age: app.config.legacy.max_age,
        until: app.config.legacy.until()?,
    };
    let accepted_until = store::register_source(&app.store, registered).await?;
    if !key.is_empty() {
        app.keys.reload().await?;
    }
    Ok(RegisterSourceResponse { accepted_until_us: accepted_until.as_micros() })
}
