//! Finding one user. One round trip each.

use carelink_database::{StoreError, args};
use uuid::Uuid;

use super::{Store, rows, statements};
use crate::domain::{names, user::User};

statements! {
    BY_ID = "find_user_by_id";
    BY_USER_ID = "find_user_by_user_id";
    BY_USERNAME = "find_user_by_username";
}

/// How to find a user.
#[derive(Clone, Debug)]
pub enum By {
    /// The subject.
    Id(Uuid),
    /// The number of U4.
    UserId(i64),
    /// The name, byte for byte.
    Username(String),
}

/// Finds a user.
///
/// # Errors
/// Those of the database.
pub async fn find_user(store: &Store, by: By) -> Result<Option<User>, StoreError> {
    let found = match by {
        By::Id(id) => store.db.query(&BY_ID, args![id]).await?,
        By::UserId(user_id) => store.db.query(&BY_USER_ID, args![user_id]).await?,
        By::Username(name) if !names::possible(&name) => return Ok(None),
        By::Username(name) => store.db.query(&BY_USERNAME, args![name]).await?,
    };
    found.first().map(rows::user).transpose()
}
