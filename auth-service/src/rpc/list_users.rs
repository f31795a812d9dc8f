//! Listing users, by name or by when they last signed in, a page at a time.

use carelink_platform::clock::Timestamp;
use carelink_proto::auth::{ListUsersRequest, ListUsersResponse, UserOrder};
use uuid::Uuid;

use super::{encode, micros};
use crate::{
    App, Error,
    domain::user::User,
    store::{self, Order, Page},
};

const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

pub(super) async fn list_users(app: &App, request: ListUsersRequest) -> Result<ListUsersResponse, Error> {
    let ListUsersRequest { prefix, role, only_disabled, page_size, cursor, order, last_sign_in_before_us } = request;
    if prefix.contains('\0') || role.contains('\0') {
        return Err(Error::Input("no name and no role has a NUL in it"));
    }
    let size = if page_size == 0 { PAGE } else { page_size.min(MAX_PAGE) };
    let before = (last_sign_in_before_us != 0).then(|| Timestamp::from_micros(last_sign_in_before_us));
    let order = match UserOrder::try_from(order).map_err(|_| Error::Input("no such order"))? {
        UserOrder::Unspecified => Order::Name { after: none_or(&cursor, |cursor| Uuid::try_parse(cursor).ok())? },
        UserOrder::LastSignIn => Order::LastSignIn { after: none_or(&cursor, read_moment)? },
    };
    let listed = store::list_users(&app.store, Page { prefix, role, only_disabled, before, size }, order).await?;
    let full = listed.len() >= size as usize;
    let next_cursor = listed.last().filter(|_| full).map(|last| cursor_after(last, order)).unwrap_or_default();
    Ok(ListUsersResponse { users: listed.into_iter().map(encode).collect(), next_cursor })
}

/// Where the next page begins. No name is in it: it may stand in an address. Users sign in meanwhile, so that there it says when as well.
fn cursor_after(last: &User, order: Order) -> String {
    let id = last.subject.id.simple();
    match order {
        Order::Name { .. } => id.to_string(),
        Order::LastSignIn { .. } => format!("{}-{id}", micros(last.last_sign_in_at)),
    }
}

fn read_moment(cursor: &str) -> Option<(Timestamp, Uuid)> {
    let (at, id) = cursor.split_once('-')?;
    Some((Timestamp::from_micros(at.parse().ok()?), Uuid::try_parse(id).ok()?))
}

fn none_or<T>(cursor: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
    if cursor.is_empty() { Ok(None) } else { read(cursor).map(Some).ok_or(Error::Cursor) }
}
