//! Granting and taking roles.

use carelink_platform::grpc::User;
use carelink_proto::auth::{ChangeRolesRequest, ChangeRolesResponse};
use tonic::Extensions;

use super::{author, author_with_reason, encode, id};
use crate::{App, Error, domain::roles::Roles, store};

pub(super) async fn change_roles(app: &App, extensions: &Extensions, request: ChangeRolesRequest) -> Result<ChangeRolesResponse, Error> {
    let ChangeRolesRequest { id: user, add, remove, reason } = request;
    let (add, remove) = (Roles::new(add)?, Roles::new(remove)?);
    if remove.is_empty() {
        app.store.trail.admit().map_err(Error::Refused)?; // what takes away is never refused
    }
    if !add.is_empty() {
        User::may_be_given(extensions).map_err(Error::Refused)?;
    }
    let author = if remove.is_empty() { author(extensions, reason)? } else { author_with_reason(extensions, reason)? };
    let changed = store::change_roles(&app.store, id(&user)?, add, remove, author).await?.ok_or(Error::NoUser)?;
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(ChangeRolesResponse { user: Some(encode(changed.user)), revocation_pending: delivered.pending(), revocation: delivered.revocation })
}
