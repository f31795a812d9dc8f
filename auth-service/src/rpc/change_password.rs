//! Changing one's own password (C7): by the current one, or by a one-time password that opens nothing else (C6).

use carelink_platform::{events::Actor, grpc::User};
use carelink_proto::auth::{ChangePasswordRequest, ChangePasswordResponse, RedeemOneTimePasswordRequest, RedeemOneTimePasswordResponse};
use tonic::Extensions;
use zeroize::Zeroizing;

use super::{
    encode, hash,
    prove::{Attempt, MAX_TYPED_BYTES, Origin, Proven, Whom, prove},
    set_password::delete_one_time_password,
};
use crate::{
    App, Error,
    domain::one_time,
    store::{self, Author, By, NewPassword, Proof},
};

pub(super) async fn change_password(
    app: &App,
    extensions: &Extensions,
    request: ChangePasswordRequest,
) -> Result<ChangePasswordResponse, Error> {
    let ChangePasswordRequest { current_password, new_password, network, user_agent, known_device } = request;
    let (current, new) = (Zeroizing::new(current_password), Zeroizing::new(new_password));
    let user = User::of(extensions).ok_or(Error::Caller)?;
    if current.len() > MAX_TYPED_BYTES {
        return Err(Error::Input("a password has at most 65,536 bytes"));
    }
    let from = Origin::new(app, network, user_agent, &known_device);
    let attempt = Attempt { whom: Whom::User(user.subject), password: &current, trim: false, from: &from };
    let Proven { credentials, .. } = prove(app, attempt).await?;
    let proof = Proof::Current { since: credentials.user.password_changed_at };
    let hash = hash(app, &new, credentials.user.owner()).await?;
    let author = Author { actor: Actor::User(user.subject), personal: from.personal };
    let new = NewPassword { id: user.subject, hash, proof, keeps: Some(user.session) };
    let (changed, _) = store::set_password(&app.store, new, author).await?.ok_or(Error::Credentials)?;
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(ChangePasswordResponse {
        user: Some(encode(changed.user)),
        revocation_pending: delivered.pending(),
        revocation: delivered.revocation,
    })
}

pub(super) async fn redeem_one_time_password(
    app: &App,
    request: RedeemOneTimePasswordRequest,
) -> Result<RedeemOneTimePasswordResponse, Error> {
    let RedeemOneTimePasswordRequest { username, one_time_password, new_password, network, user_agent } = request;
    let (one_time, new) = (Zeroizing::new(one_time_password), Zeroizing::new(new_password));
    let digest = one_time::digest(&one_time);
    let owner = store::find_user(&app.store, By::Username(username)).await?.ok_or(Error::Credentials)?;
    let id = owner.subject.id;
    if !store::one_time_password_fits(&app.store, id, digest).await? {
        return Err(Error::Credentials);
    }
    let hash = hash(app, &new, owner.owner()).await?;
    let from = Origin::new(app, network, user_agent, "");
    let author = Author { actor: Actor::User(id), personal: from.personal };
    let new = NewPassword { id, hash, proof: Proof::OneTime { digest }, keeps: None };
    let (changed, redeemed) = store::set_password(&app.store, new, author).await?.ok_or(Error::Credentials)?;
    if redeemed {
        delete_one_time_password(app);
    }
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(RedeemOneTimePasswordResponse {
        user: Some(encode(changed.user)),
        revocation_pending: delivered.pending(),
        revocation: delivered.revocation,
    })
}
