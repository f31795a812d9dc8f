//! Users for a spreadsheet (RFC 4180): what an access review wants to see of each.

use carelink_proto::auth::User;

use crate::output::{time, uuid};

/// A line of headings, then one for each user.
pub(super) fn of(users: &[User]) -> String {
    let headings = [
        "username",
        "user_id",
        "id",
        "full_name",
        "email",
        "state",
        "roles",
        "source",
        "created_at",
        "last_sign_in_at",
        "password_changed_at",
    ];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    lines.extend(users.iter().map(|user| {
        vec![
            user.username.clone(),
            user.user_id.to_string(),
            uuid(&user.id),
            user.full_name.clone(),
            user.email.clone(),
            if user.active { "active" } else { "disabled" }.to_owned(),
            user.roles.join(" "),
            user.source.clone(),
            time(user.created_us).unwrap_or_default(),
            time(user.last_sign_in_us).unwrap_or_default(),
            time(user.password_changed_us).unwrap_or_default(),
        ]
    }));
    lines.iter().map(|cells| cells.iter().map(|cell| cell_of(cell)).collect::<Vec<_>>().join(",") + "\r\n").collect()
}

/// One cell. A spreadsheet takes what begins like a formula for one, whoever typed it as a name: it becomes text.
fn cell_of(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::user;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_is_never_a_formula() {
        assert_eq!(cell_of("Amina \"A\" Okafor, RN"), "\"Amina \"\"A\"\" Okafor, RN\"");
        for formula in ["=1+1", "+49", "-1", "@SUM(A1)", "\t=1"] {
            assert!(cell_of(formula).contains(&format!("'{formula}")), "{formula}");
        }
        assert_eq!(cell_of("amina21"), "amina21");
    }

    #[test]
    fn a_user_is_a_line() {
        let text = of(&[user(1, "amina21", &["nurse", "staff"])]);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("username,user_id,id,"), "{text}");
        assert_eq!(
            lines[1],
            "amina21,1,00000000-0000-0000-0000-000000000001,,amina21@ward.example,active,nurse staff,,2023-11-14T22:13:20Z,,"
        );
        assert_eq!(lines.len(), 3);
    }
}
