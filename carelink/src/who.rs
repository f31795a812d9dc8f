//! Finding the user that an operator means: by name, by UUID or by user_id.

use carelink_proto::auth::{GetUserRequest, User, get_user_request::By};
use tonic::Code;
use uuid::Uuid;

use crate::{
    connect::Clients,
    error::{failed, usage},
    output::{shell_word, uuid},
};

/// How the help of a command explains what it takes.
pub(crate) const HELP: &str = "Name, UUID or user_id (`name:X` and `id:X` where it could be either)";

/// Everything `text` can mean, the likeliest first. A name may well be a number.
fn meanings(text: &str) -> Vec<By> {
    if let Some(name) = text.strip_prefix("name:") {
        return vec![By::Username(name.to_owned())];
    }
    let (id, name) = match text.strip_prefix("id:") {
        Some(id) => (id, None),
        None => (text, Some(By::Username(text.to_owned()))),
    };
    let by_uuid = Uuid::try_parse(id).ok().map(|id| By::Id(id.as_bytes().to_vec()));
    let by_number = id.parse().ok().filter(|number: &i64| number.to_string() == id).map(By::UserId);
    by_uuid.into_iter().chain(by_number).chain(name).collect()
}

/// Finds exactly one user.
pub(crate) async fn find(clients: &mut Clients, text: &str) -> anyhow::Result<User> {
    let mut found: Option<User> = None;
    for by in meanings(text) {
        let user = match clients.auth.get_user(GetUserRequest { by: Some(by) }).await {
            Ok(answer) => answer.into_inner().user,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(status.into()),
        };
        match (&found, user) {
            (Some(first), Some(second)) if first.id != second.id => return Err(ambiguous(text, first, &second)),
            (None, user) => found = user,
            _ => {}
        }
    }
    found.ok_or_else(|| {
        let prefix: String = text.chars().take(3).collect();
        let look = format!("look with: carelink user list --prefix {}", shell_word(&prefix));
        failed("user_not_found", format!("no user is `{text}` (names compare letter by letter); {look}"))
    })
}

fn ambiguous(text: &str, by_id: &User, by_name: &User) -> anyhow::Error {
    usage(format!(
        "`{text}` is the id of {} ({}) and the name of another user ({}); write id:{text} or name:{text}",
        by_id.username,
        uuid(&by_id.id),
        uuid(&by_name.id),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_types_means_a_name_or_an_id() {
        let id = Uuid::from_u128(7);
        assert_eq!(meanings("amina21"), [By::Username("amina21".into())]);
        assert_eq!(meanings("1001"), [By::UserId(1001), By::Username("1001".into())]);
        assert_eq!(meanings("0042"), [By::Username("0042".into())]);
        assert_eq!(meanings("name:1001"), [By::Username("1001".into())]);
        assert_eq!(meanings("id:1001"), [By::UserId(1001)]);
        assert_eq!(meanings(&format!("id:{id}")), [By::Id(id.as_bytes().to_vec())]);
        assert_eq!(meanings("id:amina21"), []);
    }
}
