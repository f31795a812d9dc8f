//! Making a predecessor's database known (L1, L3). Its SECRET_KEY never leaves this service again.

use carelink_platform::events::{Actor, EventType, Object};
use carelink_proto::token::{RegisterSourceRequest, RegisterSourceResponse};
use tonic::Extensions;

use crate::{
    App, Error,
    domain::legacy,
    keys::SOURCES_SEALED_FOR,
    store::{self, Registered},
};

pub(super) async fn register_source(
    app: &App,
    extensions: &Extensions,
    request: RegisterSourceRequest,
) -> Result<RegisterSourceResponse, Error> {
    if request.source.is_empty() || request.source.len() > 128 {
        return Err(Error::Input("a source's name has 1 to 128 bytes"));
    }
    let algorithm = if request.algorithm.is_empty() { "HS256".to_owned() } else { request.algorithm };
    legacy::algorithm(&algorithm).ok_or(Error::Input("the algorithm is HS256, HS384 or HS512"))?;
    let seal = |key: &str| app.master.seal(SOURCES_SEALED_FOR, &app.random, key.as_bytes(), request.source.as_bytes());
    let sealed_key = (!request.secret_key.is_empty()).then(|| seal(&request.secret_key));
    let keyed = sealed_key.is_some();
    let registered = Registered {
        name: request.source.clone(),
        algorithm,
        sealed_key,
        max_age: app.config.legacy.max_age,
        until: app.config.legacy.until()?,
    };
    let accepted_until = store::register_source(&app.store, registered).await?;
    if keyed {
        app.load_sources().await?;
        let tell = |event: carelink_platform::events::EventBuilder| {
            event.actor(Actor::of(extensions)).object(Object::source(&request.source)).detail("use", "legacy")
        };
        app.trail.record(vec![app.trail.note(EventType::KeyCreated, app.now(), tell)]).await?;
    }
    Ok(RegisterSourceResponse { accepted_until_us: accepted_until.as_micros() })
}
