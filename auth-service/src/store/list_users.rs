//! Listing users by name, a page at a time.

use carelink_database::{StoreError, args};
use uuid::Uuid;

use super::{Store, rows, statements};
use crate::domain::{roles::Roles, user::User};

statements! {
    LIST = "list_users";
}

/// Which users, and where the page begins.
#[derive(Clone, Debug)]
pub struct Page {
    /// Only names that begin so.
    pub prefix: String,
    /// Only those with this role, unless empty.
    pub role: String,
    /// Only disabled ones.
    pub only_disabled: bool,
    /// The last user of the page before.
    pub after: Option<Uuid>,
    /// At most so many.
    pub size: u32,
}

/// Lists users.
///
/// # Errors
/// Those of the database.
pub async fn list_users(store: &Store, page: Page) -> Result<Vec<User>, StoreError> {
    let above = format!("{}\u{10ffff}", page.prefix);
    let role = if page.role.is_empty() { String::new() } else { Roles::needle(&page.role) };
    let listed = store.db.query(&LIST, args![page.prefix, above, role, page.only_disabled, page.after, page.size]).await?;
    listed.iter().map(rows::user).collect()
}
