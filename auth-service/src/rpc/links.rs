//! One-time links by mail: asked for, and brought back with a new password.

use carelink_platform::events::Actor;
use carelink_proto::auth::{
    InviteUserRequest, InviteUserResponse, RedeemLinkRequest, RedeemLinkResponse, RequestPasswordResetRequest, RequestPasswordResetResponse,
};
use tokio::time::{Instant, sleep_until};
use tonic::Extensions;
use zeroize::Zeroizing;

use super::{
    author, encode, hash, id, micros,
    prove::{MAX_TYPED_BYTES, Origin},
    set_password::delete_one_time_password,
};
use crate::{
    App, Error,
    domain::{
        link::{self, Purpose},
        names,
    },
    store::{self, Asked, Author, NewLink, NewPassword, Proof},
};

pub(super) async fn invite_user(app: &App, extensions: &Extensions, request: InviteUserRequest) -> Result<InviteUserResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let link = new_link(app, Purpose::Invitation)?;
    let author = author(extensions, String::new())?;
    let invited = store::invite_user(&app.store, app.mail.clone(), id(&request.id)?, link, author).await?;
    Ok(InviteUserResponse { expires_us: micros(Some(invited.ok_or(Error::NoUser)?)) })
}

/// Answers alike and at the same time whoever is named: what is done for somebody who exists takes a small part of that.
pub(super) async fn request_password_reset(app: &App, request: RequestPasswordResetRequest) -> Result<RequestPasswordResetResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let RequestPasswordResetRequest { username, network, user_agent } = request;
    if username.len() > MAX_TYPED_BYTES {
        return Err(Error::Input("a name has at most 65,536 bytes"));
    }
    let link = new_link(app, Purpose::Reset)?;
    let until = Instant::now() + app.config.failure_floor;
    let name = names::trim(&username);
    let from = Origin::new(app, network, user_agent, "");
    let asked = Asked { name: name.to_owned(), unknown: app.unknown(name), network: from.network, personal: from.personal };
    store::request_reset(&app.store, app.mail.clone(), asked, link).await?;
    sleep_until(until).await;
    Ok(RequestPasswordResetResponse {})
}

pub(super) async fn redeem_link(app: &App, request: RedeemLinkRequest) -> Result<RedeemLinkResponse, Error> {
    let RedeemLinkRequest { token, new_password, network, user_agent } = request;
    let (token, new) = (Zeroizing::new(token), Zeroizing::new(new_password));
    let digest = link::digest(&token).ok_or(Error::Link)?;
    let (owner, purpose) = store::find_link(&app.store, digest).await?.ok_or(Error::Link)?;
    let id = owner.subject.id;
    let hash = hash(app, &new, owner.owner()).await?;
    let author = Author { actor: Actor::User(id), personal: Origin::new(app, network, user_agent, "").personal };
    let new = NewPassword { id, hash, proof: Proof::Link { digest, purpose }, keeps: None };
    let (changed, redeemed) = store::set_password(&app.store, new, author).await?.ok_or(Error::Link)?;
    if redeemed {
        delete_one_time_password(app);
    }
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(RedeemLinkResponse { user: Some(encode(changed.user)), revocation_pending: delivered.pending(), revocation: delivered.revocation })
}

fn new_link(app: &App, purpose: Purpose) -> Result<NewLink, Error> {
    if !app.mail.is_on() {
        return Err(Error::MailUnset);
    }
    let token = link::token(&app.store.random.bytes());
    let digest = link::digest(&token).ok_or(Error::Link)?;
    Ok(NewLink { purpose, token, digest })
}
