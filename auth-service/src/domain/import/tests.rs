//! The table of L5, field by field, and what an import may never do.

use super::*;

const HASH: &str = "pbkdf2_sha256$36000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";
const REHASHED: &str = "pbkdf2_sha256$37000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";

fn row<'a>(roles: &'a [String]) -> Row<'a> {
    Row {
        username: "amina",
        email: "a@b.example",
        full_name: "Amina Haddad",
        password_hash: HASH,
        active: true,
        staff: false,
        superuser: false,
        roles,
        last_login: Timestamp::from_secs(10),
    }
}

/// A user as imported from `read`, untouched since.
fn ours(read: &Read) -> Ours {
    Ours {
        username: read.username.as_str().to_owned(),
        email: read.email.clone(),
        full_name: read.full_name.clone(),
        password_set_here: false,
        active: read.active,
        active_set_here: false,
        roles: read.granted(false),
    }
}

fn decide(read: &Read, last: &LastRead, ours: &Ours) -> Update {
    Update::decide(read, last, ours, Rules::default(), "east")
}

#[test]
fn l5_the_same_row_again_changes_nothing_whatever_happened_here() {
    let read = Read::new(&row(&["nurse".to_owned()])).unwrap();
    let last = read.remembered(false);
    let changed = Ours {
        username: "amina.h".to_owned(),
        email: "new@b.example".to_owned(),
        full_name: "A. H.".to_owned(),
        password_set_here: true,
        active: true,
        active_set_here: true,
        roles: Roles::new(["doctor"]).unwrap(),
    };
    for ours in [ours(&read), changed] {
        let update = decide(&read, &last, &ours);
        assert!(update.is_empty() && update.kept.is_empty(), "{update:?}");
    }
}

#[test]
fn l5_what_the_source_changed_is_applied() {
    let before = Read::new(&row(&["nurse".to_owned()])).unwrap();
    let roles = ["doctor".to_owned()];
    let after = Row {
        username: "amina.h",
        email: "",
        full_name: "Amina H.",
        password_hash: REHASHED,
        staff: true,
        last_login: Timestamp::from_secs(20),
        ..row(&roles)
    };
    let after = Read::new(&after).unwrap();
    let update = decide(&after, &before.remembered(false), &ours(&before));
    assert_eq!(update.username, Some(UserName::imported("amina.h").unwrap()));
    assert_eq!((update.email.as_deref(), update.full_name.as_deref()), (Some(""), Some("Amina H.")));
    assert_eq!(update.roles, Some(Roles::new(["doctor", "staff"]).unwrap()));
    assert_eq!(update.hash.as_ref().map(|(text, _)| text.as_str()), Some(REHASHED));
    assert_eq!(update.last_login, Some(Timestamp::from_secs(20)));
    assert_eq!((update.active, update.kept.len()), (None, 0));
}

#[test]
fn l5_what_was_changed_here_too_is_kept_and_told() {
    let before = Read::new(&row(&["nurse".to_owned()])).unwrap();
    let roles = ["doctor".to_owned()];
    let after = Read::new(&Row { username: "a", email: "c@d.example", full_name: "A", password_hash: REHASHED, ..row(&roles) }).unwrap();
    let here = Ours {
        username: "amina21".to_owned(),
        email: "x@y.example".to_owned(),
        full_name: "Aa".to_owned(),
        password_set_here: true,
        roles: Roles::new(["nurse", "pharmacist"]).unwrap(),
        ..ours(&before)
    };
    let update = decide(&after, &before.remembered(false), &here);
    assert!(update.is_empty());
    assert_eq!(update.kept, ["username", "email", "full_name", "password", "roles"]);
}

#[test]
fn l5_inactive_in_the_source_always_disables_and_only_the_sources_own_is_undone() {
    let (roles, on) = ([], Read::new(&row(&[])).unwrap());
    let off = Read::new(&Row { active: false, ..row(&roles) }).unwrap();
    let here = Ours { active_set_here: true, ..ours(&on) };
    assert_eq!(decide(&off, &on.remembered(false), &here).active, Some(false), "also whom somebody enabled here");
    assert_eq!(decide(&off, &off.remembered(false), &here).active, Some(false), "also where the source says so again");
    let disabled = Ours { active: false, ..ours(&on) };
    assert_eq!(decide(&on, &off.remembered(false), &disabled).active, Some(true));
    let disabled_here = Ours { active_set_here: true, ..disabled };
    let update = decide(&on, &off.remembered(false), &disabled_here);
    assert_eq!((update.active, update.kept.as_slice()), (None, ["active"].as_slice()));
    assert_eq!(decide(&on, &on.remembered(false), &disabled_here).active, None);
}

#[test]
fn l2_superusers_become_administrators_only_by_the_operators_word() {
    let groups = ["admin".to_owned(), "nurse".to_owned()];
    let read = Read::new(&Row { superuser: true, ..row(&groups) }).unwrap();
    assert_eq!(read.dropped, ["admin"]);
    assert_eq!(read.granted(read.admin(Rules::default(), None)), Roles::new(["nurse", "superuser"]).unwrap());
    let by_word = Rules { superusers_as_admins: true, ..Rules::default() };
    assert!(read.granted(read.admin(by_word, None)).contains("admin"));
    // An import without the word takes nothing back, one with it grants where the last had not.
    let here = Ours { roles: read.granted(true), ..ours(&read) };
    assert!(Update::decide(&read, &read.remembered(true), &here, Rules::default(), "east").is_empty());
    let update = Update::decide(&read, &read.remembered(false), &ours(&read), by_word, "east");
    assert!(update.admin && update.roles.unwrap().contains("admin"));
    // Who is no superuser any more loses both.
    let fallen = Read::new(&row(&groups)).unwrap();
    let update = Update::decide(&fallen, &read.remembered(true), &here, by_word, "east");
    assert_eq!(update.roles, Some(Roles::new(["nurse"]).unwrap()));
}

#[test]
fn l1_a_qualified_name_follows_the_sources_new_one() {
    let before = Read::new(&row(&[])).unwrap();
    let roles = [];
    let after = Read::new(&Row { username: "amina.h", ..row(&roles) }).unwrap();
    let here = Ours { username: "amina@east".to_owned(), ..ours(&before) };
    assert!(decide(&before, &before.remembered(false), &here).is_empty());
    assert!(decide(&after, &before.remembered(false), &here).username.is_some());
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_reason() {
    let refused = |row: Row<'_>| Read::new(&row).unwrap_err().reason();
    assert_eq!(refused(Row { username: "", ..row(&[]) }), "name_invalid");
    assert_eq!(refused(Row { password_hash: "sha1$a$b", ..row(&[]) }), "hasher_unknown");
    assert_eq!(refused(Row { password_hash: "md5$a", ..row(&[]) }), "hash_malformed");
    assert_eq!(
        refused(Row { password_hash: "bcrypt$$2b$31$rZBM3b.Tr/jP2tjkGEibSeBqICd8BQ5JRbvTySDID9GWhloAFjdl6", ..row(&[]) }),
        "hash_too_costly"
    );
    let md5 = Read::new(&Row { password_hash: "md5$salt$7267a79720379aba3801c447798d40c4", ..row(&[]) }).unwrap();
    assert_eq!(md5.cannot_sign_in(Rules::default()), Some("md5_not_allowed"));
    assert_eq!(md5.cannot_sign_in(Rules { allow_md5: true, ..Rules::default() }), None);
}
