//! Reading long lists: a page, the next page, or all of them.

use clap::{Args, value_parser};
use tonic::Status;

use crate::output::{Console, shell_word};

/// The services' own limit.
const LARGEST_PAGE: u32 = 1_000;

/// Which part of a list.
#[derive(Args, Debug)]
pub(crate) struct Paging {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Go on where an earlier list stopped
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// All there are, page after page
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// What was read, and where it goes on, if it does.
pub(crate) struct Pages<T> {
    /// In the order of the list.
    pub(crate) items: Vec<T>,
    /// Where the next page begins.
    pub(crate) next_cursor: Option<String>,
}

impl Paging {
    /// Reads through `fetch`, which takes a page size and a cursor and gives a page and the next cursor.
    pub(crate) async fn read<T>(
        &self,
        mut fetch: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Status>,
    ) -> Result<Pages<T>, Status> {
        let size = if self.all { LARGEST_PAGE } else { self.limit };
        let mut cursor = self.cursor.clone().unwrap_or_default();
        let mut items = Vec::new();
        loop {
            let (page, next) = fetch(size, cursor).await?;
            items.extend(page);
            if next.is_empty() || !self.all {
                return Ok(Pages { items, next_cursor: Some(next).filter(|next| !next.is_empty()) });
            }
            cursor = next;
        }
    }
}

impl<T> Pages<T> {
    /// Tells, beside a table, that there is nothing, or that there is more.
    pub(crate) fn remark(&self, console: &mut Console) {
        if let Some(next) = &self.next_cursor {
            console.note(format!("There are more: add --cursor {}, or --all", shell_word(next)));
        } else if self.items.is_empty() {
            console.note("There are none.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn page(size: u32, cursor: String) -> Result<(Vec<u32>, String), Status> {
        let from: u32 = if cursor.is_empty() { 0 } else { cursor.parse().unwrap() };
        let to = (from + size).min(2_500);
        Ok(((from..to).collect(), if to < 2_500 { to.to_string() } else { String::new() }))
    }

    #[tokio::test]
    async fn a_page_says_where_the_next_begins_and_all_follows_to_the_end() {
        let some = Paging { limit: 100, cursor: Some("200".into()), all: false }.read(page).await.unwrap();
        assert_eq!((some.items.len(), some.items[0], some.next_cursor.as_deref()), (100, 200, Some("300")));
        let all = Paging { limit: 100, cursor: None, all: true }.read(page).await.unwrap();
        assert_eq!((all.items.len(), all.next_cursor), (2_500, None));
    }
}
