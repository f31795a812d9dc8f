//! Finding one user.

use carelink_proto::auth::{GetUserRequest, GetUserResponse, get_user_request};

use super::{encode, id};
use crate::{
    App, Error,
    store::{self, By},
};

pub(super) async fn get_user(app: &App, request: GetUserRequest) -> Result<GetUserResponse, Error> {
    let by = match request.by.ok_or(Error::Input("say whom: by id, user_id or username"))? {
        get_user_request::By::Id(bytes) => By::Id(id(&bytes)?),
        get_user_request::By::UserId(user_id) => By::UserId(user_id),
        get_user_request::By::Username(name) => By::Username(name),
    };
    let user = store::find_user(&app.store, by).await?.ok_or(Error::NoUser)?;
    Ok(GetUserResponse { user: Some(encode(user)) })
}
