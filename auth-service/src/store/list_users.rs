//! Listing users, a page at a time.

use carelink_database::{StoreError, args};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, rows, statements};
use crate::domain::{roles::Roles, user::User};

statements! {
    LIST = "list_users";
    LIST_BY_SIGN_IN = "list_users_by_sign_in" and postgres;
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
    /// Only those who have not signed in since.
    pub before: Option<Timestamp>,
    /// At most so many.
    pub size: u32,
}

/// In which order, and where the page before ended.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// By name.
    Name {
        /// The last user.
        after: Option<Uuid>,
    },
    /// Who has not signed in for longest first.
    LastSignIn {
        /// When the last user had signed in, and who that is.
        after: Option<(Timestamp, Uuid)>,
    },
}

/// Lists users.
///
/// # Errors
/// Those of the database.
pub async fn list_users(store: &Store, page: Page, order: Order) -> Result<Vec<User>, StoreError> {
    let above = format!("{}\u{10ffff}", page.prefix);
    let role = if page.role.is_empty() { String::new() } else { Roles::needle(&page.role) };
    let all = args![page.prefix, above, role, page.only_disabled, page.before, page.size];
    let listed = match order {
        Order::Name { after } => store.db.query(&LIST, [all, args![after]].concat()).await?,
        Order::LastSignIn { after } => {
            let (at, id) = after.unwrap_or((Timestamp::from_micros(i64::from(i32::MIN)), Uuid::nil()));
            store.db.query(&LIST_BY_SIGN_IN, [all, args![at, id]].concat()).await?
        }
    };
    listed.iter().map(rows::user).collect()
}
