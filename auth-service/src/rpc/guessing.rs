//! Opening an account to guesses again, and showing what was guessed (C5).

use carelink_proto::auth::{
    GuessingCount, GuessingWay, ShowGuessingRequest, ShowGuessingResponse, UnlockUserRequest, UnlockUserResponse, show_guessing_request,
};
use tonic::Extensions;

use super::{author, id, micros};
use crate::{
    App, Error,
    domain::guessing::Way,
    store::{self, By},
};

pub(super) async fn unlock_user(app: &App, extensions: &Extensions, request: UnlockUserRequest) -> Result<UnlockUserResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let UnlockUserRequest { id: user, reason } = request;
    let opened = store::unlock_user(&app.store, id(&user)?, author(extensions, reason)?).await?.ok_or(Error::NoUser)?;
    Ok(UnlockUserResponse { opened: opened.into_iter().map(|way| encode(way).into()).collect() })
}

pub(super) async fn show_guessing(app: &App, request: ShowGuessingRequest) -> Result<ShowGuessingResponse, Error> {
    let (by, unknown) = match request.by.ok_or(Error::Input("say whom: by id or username"))? {
        show_guessing_request::By::Id(bytes) => (By::Id(id(&bytes)?), None),
        show_guessing_request::By::Username(name) => (By::Username(name.clone()), Some(app.unknown(&name))),
    };
    let user = store::find_user(&app.store, by).await?.map(|user| user.subject.id);
    let account = user.or(unknown).ok_or(Error::NoUser)?;
    let shown = store::show_guessing(&app.store, account, user).await?;
    let count = |way: Way| GuessingCount { way: encode(way).into(), failures: shown.guesses.by(way), limit: way.limit() };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(ShowGuessingResponse {
        counts: Way::ALL.into_iter().map(count).collect(),
        networks: number(shown.guesses.by_network.len()),
        networks_closed: number(shown.guesses.networks_closed()),
        known_networks: shown.known_networks,
        last_us: micros(shown.last),
    })
}

fn encode(way: Way) -> GuessingWay {
    match way {
        Way::Strangers => GuessingWay::Strangers,
        Way::KnownNetworks => GuessingWay::KnownNetworks,
        Way::KnownDevices => GuessingWay::KnownDevices,
    }
}
