//! Making a user.

use carelink_proto::auth::{CreateUserRequest, CreateUserResponse};
use tonic::Extensions;
use zeroize::Zeroizing;

use super::{author, encode, hash};
use crate::{
    App, Error,
    domain::{
        names::{UserName, profile_text},
        password::Owner,
        roles::Roles,
    },
    store::{self, NewUser},
};

pub(super) async fn create_user(app: &App, extensions: &Extensions, request: CreateUserRequest) -> Result<CreateUserResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let CreateUserRequest { username, email, full_name, roles, password } = request;
    let password = Zeroizing::new(password);
    let username = UserName::new(&username)?;
    let roles = Roles::new(roles)?;
    let email = profile_text(&email).ok_or(Error::Input("an e-mail address has at most 254 characters and no control characters"))?;
    let full_name = profile_text(&full_name).ok_or(Error::Input("a full name has at most 254 characters and no control characters"))?;
    let hash = match password.is_empty() {
        true => None,
        false => Some(hash(app, &password, Owner { username: username.as_str(), email: &email, full_name: &full_name }).await?),
    };
    let new = NewUser { username, email, full_name, roles, hash };
    while store::look_at_names(&app.store).await? {} // what an older version wrote counts too
    let made = store::create_user(&app.store, new, author(extensions, String::new())?).await?;
    app.subjects.deliver(made.pending).await;
    Ok(CreateUserResponse { user: Some(encode(made.user)) })
}
