//! Setting a user's password by an operator or administrator, who need not know the old one.

use std::{fs, io};

use carelink_proto::auth::{SetPasswordRequest, SetPasswordResponse};
use tonic::Extensions;
use zeroize::Zeroizing;

use super::{author, encode, hash, id};
use crate::{
    App, Error,
    store::{self, By, NewPassword, Proof},
};

pub(super) async fn set_password(app: &App, extensions: &Extensions, request: SetPasswordRequest) -> Result<SetPasswordResponse, Error> {
    let SetPasswordRequest { id: user, password, reason } = request;
    let (password, user) = (Zeroizing::new(password), id(&user)?);
    let author = author(extensions, reason)?;
    let owner = store::find_user(&app.store, By::Id(user)).await?.ok_or(Error::NoUser)?;
    let hash = hash(app, &password, owner.owner()).await?;
    let new = NewPassword { id: user, hash, proof: Proof::Authority, keeps: None };
    let (changed, redeemed) = store::set_password(&app.store, new, author).await?.ok_or(Error::NoUser)?;
    if redeemed {
        delete_one_time_password(app);
    }
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(SetPasswordResponse { user: Some(encode(changed.user)), revocation_pending: delivered.pending(), revocation: delivered.revocation })
}

/// The file that held it is of no use any more (C6).
pub(super) fn delete_one_time_password(app: &App) {
    let Some(path) = app.first_administrator_file.as_ref() else { return };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "the used one-time password could not be deleted");
        }
        _ => {}
    }
}
