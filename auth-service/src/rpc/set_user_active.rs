//! Disabling and enabling a user.

use carelink_platform::grpc::User;
use carelink_proto::auth::{SetUserActiveRequest, SetUserActiveResponse};
use tonic::Extensions;

use super::{author, author_with_reason, encode, id};
use crate::{App, Error, store};

pub(super) async fn set_user_active(
    app: &App,
    extensions: &Extensions,
    request: SetUserActiveRequest,
) -> Result<SetUserActiveResponse, Error> {
    let SetUserActiveRequest { id: user, active, reason } = request;
    if active {
        // Disabling is never refused.
        app.store.trail.admit().map_err(Error::Refused)?;
        User::may_be_given(extensions).map_err(Error::Refused)?;
    }
    let author = if active { author(extensions, reason)? } else { author_with_reason(extensions, reason)? };
    let changed = store::set_user_active(&app.store, id(&user)?, active, author).await?.ok_or(Error::NoUser)?;
    let delivered = app.subjects.deliver(changed.pending).await;
    Ok(SetUserActiveResponse {
        user: Some(encode(changed.user)),
        revocation_pending: delivered.pending(),
        revocation: delivered.revocation,
    })
}
