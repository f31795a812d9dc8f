//! Finding the tables: what is found by itself, what the options override, and the sentence where neither helps.

use super::*;

/// `name: column kind!*, ..`: `!` unique, `*` primary key, `>table` a reference.
fn table_of(text: &str) -> Table {
    let (name, columns) = text.split_once(':').unwrap();
    let mut table = Table { name: name.into(), ..Table::default() };
    for column in columns.split(',').map(str::trim) {
        let (column, kind) = column.split_once(' ').unwrap();
        let (kind, to) = kind.split_once('>').unwrap_or((kind, ""));
        if !to.is_empty() {
            table.references.push((column.into(), to.into()));
        }
        table.columns.push(Column {
            name: column.into(),
            kind: kind.trim_end_matches(['!', '*']).into(),
            primary: kind.contains('*'),
            unique: kind.contains('!'),
        });
    }
    table
}

fn tables(texts: &[&str]) -> Vec<Table> {
    texts.iter().map(|text| table_of(text)).collect()
}

fn found(texts: &[&str], wanted: &Wanted) -> Layout {
    find(&tables(texts), wanted).unwrap()
}

fn sentence(texts: &[&str], wanted: &Wanted) -> String {
    find(&tables(texts), wanted).unwrap_err().to_string()
}

const AUTH_USER: &str = "auth_user: id integer*, password varchar(128), last_login datetime, is_superuser bool, username varchar(150)!, last_name varchar(150), email varchar(254), is_staff bool, is_active bool, date_joined datetime, first_name varchar(150)";
const MEMBER: &str =
    "clinic_member: id bigint*, password varchar(128), last_login datetime, mail varchar(254)!, phone varchar(20), name text";
const GROUP: &str = "auth_group: id integer*, name varchar(150)!";
const OUTSTANDING_OF_MEMBER: &str = "token_blacklist_outstandingtoken: id integer*, token text, jti varchar(255)!, user_id bigint>clinic_member, created_at datetime, expires_at datetime";

fn none() -> Wanted {
    Wanted::default()
}

#[test]
fn l1_djangos_own_users_are_found_with_groups() {
    let layout =
        found(&[GROUP, AUTH_USER, "auth_user_groups: id integer*, user_id integer>auth_user, group_id integer>auth_group"], &none());
    assert_eq!((layout.table.as_str(), layout.username.as_str(), layout.email.as_deref()), ("auth_user", "username", Some("email")));
    assert_eq!(layout.names, Names::Parts("first_name".into(), "last_name".into()));
    let groups = Groups { table: "auth_user_groups".into(), user: "user_id".into(), group: "group_id".into() };
    assert_eq!((layout.groups, layout.tokens, layout.role), (Some(groups), None, None));
}

#[test]
fn l1_a_custom_table_is_found_by_what_the_tokens_refer_to() {
    let through = "clinic_member_groups: id integer*, member_id bigint>clinic_member, group_id integer>auth_group";
    let layout = found(&[AUTH_USER, GROUP, MEMBER, OUTSTANDING_OF_MEMBER, through], &none());
    assert_eq!((layout.table.as_str(), layout.username.as_str()), ("clinic_member", "mail")); // the only unique text
    assert_eq!(layout.groups.unwrap().user, "member_id");
    assert_eq!((layout.active, layout.joined, layout.names), (None, None, Names::Full("name".into())));
    assert_eq!(layout.tokens.unwrap().blacklisted, None);
}

#[test]
fn l1_a_custom_table_without_tokens_is_found_by_its_columns() {
    assert_eq!(found(&[GROUP, MEMBER], &none()).table, "clinic_member");
    let twice = sentence(&[MEMBER, "old_member: id integer*, password text, last_login datetime, username text"], &none());
    assert_eq!(twice, "clinic_member, old_member all look like tables of users; say which with --users-table");
}

#[test]
fn l1_options_override_what_would_be_found() {
    let wanted = Wanted {
        users_table: Some("CLINIC_MEMBER".into()),
        username_column: Some("phone".into()),
        email_column: Some("mail".into()),
        role_column: Some("name".into()),
    };
    let layout = found(&[AUTH_USER, MEMBER], &wanted);
    assert_eq!((layout.table.as_str(), layout.username.as_str()), ("clinic_member", "phone"));
    assert_eq!((layout.email.as_deref(), layout.role.as_deref()), (Some("mail"), Some("name")));
}

#[test]
fn l1_a_role_column_is_taken_by_itself_only_if_it_is_text() {
    let with = |kind: &str| format!("{MEMBER}, role {kind}");
    assert_eq!(found(&[&with("varchar(20)")], &none()).role.as_deref(), Some("role"));
    assert_eq!(found(&[&with("integer")], &none()).role, None);
}

#[test]
fn l1_a_source_without_users_says_what_it_has_and_which_option_helps() {
    let text = sentence(&[GROUP, "notes: id integer*, body text"], &none());
    assert_eq!(text, "no table of users found; name it with --users-table (tables seen: auth_group, notes)");
    assert_eq!(sentence(&[], &none()), "no table of users found; name it with --users-table (tables seen: none)");
    let many: Vec<String> = (0..20).map(|n| format!("t{n}: id integer*")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(sentence(&many, &none()).ends_with("t11 and 8 more)"));
    let wanted = Wanted { users_table: Some("people".into()), ..none() };
    assert_eq!(sentence(&[GROUP], &wanted), "--users-table people: there is no such table (tables seen: auth_group)");
}

#[test]
fn l1_a_table_that_lacks_a_column_says_which() {
    let plain = "people: id integer*, password text, last_login datetime, a text, b text";
    let columns = "(it has id, password, last_login, a, b)";
    assert_eq!(
        sentence(&[plain], &none()),
        format!("people has no column that looks like a user name; name it with --username-column {columns}")
    );
    let wanted = Wanted { username_column: Some("a".into()), role_column: Some("rank".into()), ..none() };
    assert_eq!(sentence(&[plain], &wanted), format!("--role-column rank: people has no such column {columns}"));
    let wanted = Wanted { users_table: Some("people".into()), ..none() };
    let text = sentence(&["people: id integer*, username text"], &wanted);
    assert_eq!(text, "people has no column password, so it is not what Django writes (it has id, username)");
    let text =
        sentence(&[AUTH_USER, "token_blacklist_outstandingtoken: id integer*, token text, jti varchar(255), user_id integer"], &none());
    assert!(text.starts_with("token_blacklist_outstandingtoken has no column created_at"), "{text}");
}

#[test]
fn u4_users_whose_ids_are_no_numbers_are_refused_whole() {
    let text = sentence(&["people: id char(32)*, password text, last_login datetime, username text"], &none());
    assert_eq!(text, "people has no integer primary key (id is char(32)); only users whose ids are numbers can be imported");
    let text = sentence(&["people: id integer, password text, last_login datetime, username text"], &none());
    assert!(text.contains("(it has none)"), "{text}");
}

#[test]
fn l1_tokens_of_other_users_are_not_given_to_these() {
    let tables = tables(&[AUTH_USER, MEMBER, OUTSTANDING_OF_MEMBER]);
    let named = find(&tables, &Wanted { users_table: Some("auth_user".into()), ..none() }).unwrap();
    assert!(check_holders(&tables, &named).unwrap_err().to_string().contains("belong to the users of clinic_member, not of auth_user"));
    check_holders(&tables, &find(&tables, &none()).unwrap()).unwrap();
}
