//! Listing users by name, a page at a time.

use carelink_proto::auth::{ListUsersRequest, ListUsersResponse};
use uuid::Uuid;

use super::encode;
use crate::{
    App, Error,
    store::{self, Page},
};

const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

pub(super) async fn list_users(app: &App, request: ListUsersRequest) -> Result<ListUsersResponse, Error> {
    let ListUsersRequest { prefix, role, only_disabled, page_size, cursor } = request;
    if prefix.contains('\0') || role.contains('\0') {
        return Err(Error::Input("no name and no role has a NUL in it"));
    }
    // The cursor is an id: it may stand in an address, where no name belongs.
    let after = if cursor.is_empty() { None } else { Some(Uuid::try_parse(&cursor).map_err(|_| Error::Cursor)?) };
    let size = if page_size == 0 { PAGE } else { page_size.min(MAX_PAGE) };
    let listed = store::list_users(&app.store, Page { prefix, role, only_disabled, after, size }).await?;
    let full = listed.len() >= size as usize;
    let next_cursor = listed.last().filter(|_| full).map(|last| last.subject.id.simple().to_string()).unwrap_or_default();
    Ok(ListUsersResponse { users: listed.into_iter().map(encode).collect(), next_cursor })
}
