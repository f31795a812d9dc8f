//! Decode, call domain and store, encode. Nothing is decided here.

mod change_password;
mod change_roles;
mod create_user;
mod get_user;
mod guessing;
mod import_users;
mod links;
mod list_users;
mod prove;
mod set_password;
mod set_user_active;
mod verify_password;

use carelink_platform::{clock::Timestamp, events::Actor, grpc::Caller};
use carelink_proto::{
    audit::Personal,
    auth::{
        ChangePasswordRequest, ChangePasswordResponse, ChangeRolesRequest, ChangeRolesResponse, CreateUserRequest, CreateUserResponse,
        GetUserRequest, GetUserResponse, ImportUsersRequest, ImportUsersResponse, InviteUserRequest, InviteUserResponse, ListUsersRequest,
        ListUsersResponse, RedeemLinkRequest, RedeemLinkResponse, RedeemOneTimePasswordRequest, RedeemOneTimePasswordResponse,
        RequestPasswordResetRequest, RequestPasswordResetResponse, SetPasswordRequest, SetPasswordResponse, SetUserActiveRequest,
        SetUserActiveResponse, ShowGuessingRequest, ShowGuessingResponse, UnlockUserRequest, UnlockUserResponse, User as ProtoUser,
        VerifyPasswordRequest, VerifyPasswordResponse, auth_service_server::AuthService,
    },
};
use tonic::{Extensions, Request, Response, Status};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    App, Error,
    domain::{
        password::{NewPassword, Owner},
        user::{StoredHash, User},
    },
    store::{Author, NewHash},
};

/// The longest reason somebody may give.
const MAX_REASON_BYTES: usize = 2_000;

/// The service as tonic calls it.
#[derive(Clone, Debug)]
pub(crate) struct Rpc(pub(crate) App);

#[tonic::async_trait]
impl AuthService for Rpc {
    async fn verify_password(&self, request: Request<VerifyPasswordRequest>) -> Result<Response<VerifyPasswordResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let presenter = Caller::of(&extensions)?.name();
        Ok(Response::new(verify_password::verify_password(&self.0, &presenter, message).await?))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        Ok(Response::new(get_user::get_user(&self.0, request.into_inner()).await?))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        Ok(Response::new(list_users::list_users(&self.0, request.into_inner()).await?))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(create_user::create_user(&self.0, &extensions, message).await?))
    }

    async fn set_user_active(&self, request: Request<SetUserActiveRequest>) -> Result<Response<SetUserActiveResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(set_user_active::set_user_active(&self.0, &extensions, message).await?))
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Result<Response<SetPasswordResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(set_password::set_password(&self.0, &extensions, message).await?))
    }

    async fn change_roles(&self, request: Request<ChangeRolesRequest>) -> Result<Response<ChangeRolesResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(change_roles::change_roles(&self.0, &extensions, message).await?))
    }

    async fn import_users(&self, request: Request<ImportUsersRequest>) -> Result<Response<ImportUsersResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(import_users::import_users(&self.0, &extensions, message).await?))
    }

    async fn change_password(&self, request: Request<ChangePasswordRequest>) -> Result<Response<ChangePasswordResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(change_password::change_password(&self.0, &extensions, message).await?))
    }

    async fn redeem_one_time_password(
        &self,
        request: Request<RedeemOneTimePasswordRequest>,
    ) -> Result<Response<RedeemOneTimePasswordResponse>, Status> {
        Ok(Response::new(change_password::redeem_one_time_password(&self.0, request.into_inner()).await?))
    }

    async fn invite_user(&self, request: Request<InviteUserRequest>) -> Result<Response<InviteUserResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(links::invite_user(&self.0, &extensions, message).await?))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        Ok(Response::new(links::request_password_reset(&self.0, request.into_inner()).await?))
    }

    async fn redeem_link(&self, request: Request<RedeemLinkRequest>) -> Result<Response<RedeemLinkResponse>, Status> {
        Ok(Response::new(links::redeem_link(&self.0, request.into_inner()).await?))
    }

    async fn unlock_user(&self, request: Request<UnlockUserRequest>) -> Result<Response<UnlockUserResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        Ok(Response::new(guessing::unlock_user(&self.0, &extensions, message).await?))
    }

    async fn show_guessing(&self, request: Request<ShowGuessingRequest>) -> Result<Response<ShowGuessingResponse>, Status> {
        Ok(Response::new(guessing::show_guessing(&self.0, request.into_inner()).await?))
    }
}

/// On whose behalf, and why.
fn author(extensions: &Extensions, reason: String) -> Result<Author, Error> {
    if reason.len() > MAX_REASON_BYTES {
        return Err(Error::Input("a reason has at most 2,000 bytes"));
    }
    Ok(Author { actor: Actor::of(extensions), personal: Personal { text: reason, ..Personal::default() } })
}

/// The same where something is taken away: a reason is asked for (G3).
fn author_with_reason(extensions: &Extensions, reason: String) -> Result<Author, Error> {
    if reason.trim().is_empty() { Err(Error::NoReason) } else { author(extensions, reason) }
}

fn id(bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::Input("a user's id has 16 bytes"))
}

/// Judges a new password and hashes it.
async fn hash(app: &App, password: &Zeroizing<String>, owner: Owner<'_>) -> Result<NewHash, Error> {
    let password = NewPassword::new(password, app.config.min_length, owner)?;
    let text = app.pool.hash(Zeroizing::new(password.as_bytes().to_vec())).await?;
    Ok(NewHash { text: StoredHash::new(text), class: app.pool.own_class() })
}

fn encode(user: User) -> ProtoUser {
    let hasher = user.hasher().to_owned();
    let User { subject, username, email, full_name, password_changed_at, last_sign_in_at, created_at, source, .. } = user;
    ProtoUser {
        id: subject.id.as_bytes().to_vec(),
        user_id: subject.user_id,
        username,
        email,
        full_name,
        active: subject.active,
        roles: subject.roles.to_vec(),
        version: subject.version,
        created_us: created_at.as_micros(),
        last_sign_in_us: micros(last_sign_in_at),
        password_changed_us: micros(password_changed_at),
        hasher,
        source,
    }
}

/// Microseconds as the contracts have them; 0 for never.
fn micros(at: Option<Timestamp>) -> i64 {
    at.unwrap_or(Timestamp::ZERO).as_micros()
}
