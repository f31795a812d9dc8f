//! Making and changing users.

use carelink_platform::secrets::ExposeSecret;
use carelink_proto::auth::{
    ChangeRolesRequest, CreateUserRequest, GetUserRequest, ListUsersRequest, SetPasswordRequest, SetUserActiveRequest, get_user_request::By,
};

use super::*;

fn disable(user: &User, reason: &str) -> SetUserActiveRequest {
    SetUserActiveRequest { id: user.id.clone(), active: false, reason: reason.into() }
}

fn roles(user: &User, add: &[&str], remove: &[&str]) -> ChangeRolesRequest {
    let names = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
    ChangeRolesRequest { id: user.id.clone(), add: names(add), remove: names(remove), reason: "moved".into() }
}

async fn u4_users_made_here_are_numbered_from_a_thousand_million(engine: Engine) {
    let auth = Auth::new(engine).await;
    let (first, second) = (auth.create("first", "").await, auth.create("second", "").await);
    assert_eq!((first.user_id, second.user_id), (1_000_000_000, 1_000_000_001));
    assert_eq!((first.version, first.active, first.hasher.as_str()), (1, true, "unusable"));
}

async fn u1_disabling_and_a_new_password_raise_min_version_a_role_change_does_not(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let changed = auth.operator().change_roles(roles(&user, &["nurse"], &[])).await.unwrap().into_inner();
    assert_eq!((changed.user.unwrap().roles, changed.revocation_pending), (vec!["nurse".to_owned()], false));
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.min_version), (2, 0));
    let disabled = auth.operator().set_user_active(disable(&user, "left the house")).await.unwrap().into_inner();
    assert!(!disabled.revocation_pending && disabled.revocation > 100, "the number that a verifier must have seen");
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.min_version, held.active, held.end_reason.as_str()), (3, 3, false, "disabled"));
    let enable = SetUserActiveRequest { active: true, ..disable(&user, "") };
    auth.operator().set_user_active(enable).await.unwrap();
    let password = SetPasswordRequest { id: user.id.clone(), password: "another night 21 ward".into(), reason: String::new() };
    let set = auth.operator().set_password(password).await.unwrap().into_inner().user.unwrap();
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.min_version, held.active, held.end_reason.as_str()), (5, 5, true, "password_changed"));
    assert_eq!((set.version, set.hasher.as_str()), (5, "argon2id"));
    auth.sign_in("amina", "another night 21 ward").await.unwrap();
    assert_eq!(auth.refused("amina", PASSWORD).await, Reason::CredentialsInvalid);
    assert_eq!(auth.waiting_subjects().await, 0, "acknowledged ones are deleted");
}

async fn every_change_is_an_event_by_its_operator_and_no_change_is_none(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    auth.operator().change_roles(roles(&user, &["nurse", "doctor"], &[])).await.unwrap();
    auth.operator().change_roles(roles(&user, &[], &["doctor"])).await.unwrap();
    auth.operator().change_roles(roles(&user, &["nurse"], &["patient"])).await.unwrap();
    auth.operator().set_user_active(disable(&user, "left")).await.unwrap();
    auth.operator().set_user_active(disable(&user, "left again")).await.unwrap();
    let changed = auth.told("user.roles_changed").await;
    assert_eq!(changed.len(), 2);
    let details = |key: &str| changed[1].details[key].clone();
    assert_eq!((details("roles"), details("added"), details("removed")), ("nurse".into(), String::new(), "doctor".into()));
    let disabled = auth.told("user.disabled").await;
    assert_eq!(disabled.len(), 1);
    let actor = disabled[0].actor.clone().unwrap();
    assert_eq!((actor.id.as_str(), actor.claimed.as_str()), ("uid:1000", "amina"));
    let sealed = disabled[0].personal.clone().unwrap();
    let opened = SealingKeyPair::from_secret(&[8; 32]).unwrap().open(&disabled[0].id, &sealed).unwrap();
    assert_eq!(opened.text, "left");
    assert_eq!(auth.told("user.created").await.len(), 1);
}

async fn g3_what_takes_something_away_asks_for_a_reason(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", "").await;
    let refused = auth.operator().set_user_active(disable(&user, " ")).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::ReasonRequired);
    let silent = ChangeRolesRequest { reason: String::new(), ..roles(&user, &[], &["nurse"]) };
    assert_eq!(reason(&auth.operator().change_roles(silent).await.unwrap_err()), Reason::ReasonRequired);
    let granted = ChangeRolesRequest { reason: String::new(), ..roles(&user, &["nurse"], &[]) };
    auth.operator().change_roles(granted).await.unwrap();
    let unknown = SetUserActiveRequest { id: vec![9; 16], active: false, reason: "x".into() };
    assert_eq!(reason(&auth.operator().set_user_active(unknown).await.unwrap_err()), Reason::UserNotFound);
    let garbage = SetUserActiveRequest { id: vec![9; 3], active: false, reason: "x".into() };
    assert_eq!(reason(&auth.operator().set_user_active(garbage).await.unwrap_err()), Reason::InputInvalid);
}

async fn v3_an_administrator_whom_only_a_stale_verifier_knows_may_take_away_and_give_nothing(engine: Engine) {
    let auth = Auth::new(engine).await;
    let (user, admin) = (auth.create("amina", PASSWORD).await, auth.create("boss", "").await);
    auth.operator().change_roles(roles(&user, &["nurse", "doctor"], &[])).await.unwrap();
    let (sure, stale) = (token(&admin.id, 1, "admin", false), token(&admin.id, 1, "admin", true));
    let mut gateway = auth.gateway();
    let enable = SetUserActiveRequest { active: true, ..disable(&user, "") };
    let password = SetPasswordRequest { id: user.id.clone(), password: "another night 21 ward".into(), reason: String::new() };
    // Takes away.
    gateway.set_user_active(on_behalf(&stale, disable(&user, "left"))).await.unwrap();
    gateway.change_roles(on_behalf(&stale, roles(&user, &[], &["doctor"]))).await.unwrap();
    let held = auth.played.subject(&user.id);
    assert_eq!((held.active, held.roles), (false, vec!["nurse".to_owned()]));
    assert_eq!(auth.told("user.disabled").await[0].actor.as_ref().unwrap().id, Uuid::from_slice(&admin.id).unwrap().to_string());
    // Gives.
    let refused = [
        gateway.set_user_active(on_behalf(&stale, enable.clone())).await.unwrap_err(),
        gateway.change_roles(on_behalf(&stale, roles(&user, &["doctor"], &["nurse"]))).await.unwrap_err(),
        gateway.set_password(on_behalf(&stale, password)).await.unwrap_err(),
        gateway.list_users(on_behalf(&stale, ListUsersRequest::default())).await.unwrap_err(),
    ];
    assert_eq!(refused.map(|status| reason(&status).http()), [503; 4]);
    assert!(!auth.played.subject(&user.id).active);
    gateway.set_user_active(on_behalf(&sure, enable)).await.unwrap();
    assert!(auth.played.subject(&user.id).active);
}

async fn c7_and_c1_refuse_passwords_names_and_roles_with_a_reason(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.create("amina", PASSWORD).await;
    let valid = CreateUserRequest { username: "bob".into(), password: PASSWORD.into(), ..Default::default() };
    for (request, expected) in [
        (CreateUserRequest { username: "amina".into(), ..valid.clone() }, Reason::NameTaken),
        (CreateUserRequest { username: " bob".into(), ..valid.clone() }, Reason::NameInvalid),
        (CreateUserRequest { username: String::new(), ..valid.clone() }, Reason::NameInvalid),
        (CreateUserRequest { password: "short".into(), ..valid.clone() }, Reason::PasswordTooShort),
        (CreateUserRequest { password: "x y".repeat(400), ..valid.clone() }, Reason::PasswordTooLong),
        (CreateUserRequest { password: "PasswordPassword".into(), ..valid.clone() }, Reason::PasswordCommon),
        (CreateUserRequest { roles: vec!["a,b".into()], ..valid.clone() }, Reason::RoleInvalid),
        (CreateUserRequest { email: "a\nb".into(), ..valid.clone() }, Reason::InputInvalid),
    ] {
        let refused = auth.operator().create_user(request).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
    assert_eq!(auth.told("user.created").await.len(), 1);
}

async fn c1_a_new_name_that_looks_like_somebodys_is_taken_and_an_imported_one_is_not(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.create("amina", "").await;
    let create = |username: &str| {
        let (mut operator, request) = (auth.operator(), CreateUserRequest { username: username.into(), ..Default::default() });
        async move { operator.create_user(request).await.map_err(|status| reason(&status)) }
    };
    for name in ["Amina", "\u{430}mina", "ａｍｉｎａ"] {
        assert_eq!(create(name).await.unwrap_err(), Reason::NameTaken, "{name}");
    }
    let imported = |legacy_id, username: &str| carelink_proto::auth::LegacyUser {
        legacy_id,
        username: username.into(),
        password_hash: "!".into(),
        active: true,
        ..Default::default()
    };
    let batch = vec![imported(1, "AMINA"), imported(2, "bjorn"), imported(3, "Bjorn")];
    let request = carelink_proto::auth::ImportUsersRequest { source: "east".into(), users: batch, ..Default::default() };
    let outcomes = auth.operator().import_users(request).await.unwrap().into_inner().outcomes;
    assert!(outcomes.iter().all(|outcome| outcome.reason.is_empty()), "{outcomes:?}");
    assert_eq!(create("BJORN").await.unwrap_err(), Reason::NameTaken);
    // Also where an older version wrote the row.
    static FORGET: Statement = Statement::shared("forget", "UPDATE users SET look = NULL");
    auth.app.store.db.run(&FORGET, args![]).await.unwrap();
    assert_eq!(create("aMINA").await.unwrap_err(), Reason::NameTaken);
    create("amine").await.unwrap();
}

async fn users_are_listed_by_when_they_last_signed_in(engine: Engine) {
    let auth = Auth::new(engine).await;
    let mut made = Vec::new();
    for name in ["first", "second", "third", "never", "nor"] {
        made.push(auth.create(name, if name.starts_with('n') { "" } else { PASSWORD }).await);
    }
    for name in ["second", "first", "third"] {
        auth.sign_in(name, PASSWORD).await.unwrap();
    }
    let list = async |cursor: String, last_sign_in_before_us| {
        let order = carelink_proto::auth::UserOrder::LastSignIn.into();
        let request = ListUsersRequest { page_size: 2, cursor, order, last_sign_in_before_us, ..Default::default() };
        auth.operator().list_users(request).await.map(tonic::Response::into_inner)
    };
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(cursor, 0).await.unwrap();
        names.extend(page.users.iter().map(|user| user.username.clone()));
        if names.len() == 2 {
            auth.sign_in("second", PASSWORD).await.unwrap(); // while somebody reads
        }
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["never", "nor", "first", "third", "second"]);
    let last = auth.gateway().get_user(GetUserRequest { by: Some(By::Username("third".into())) }).await.unwrap().into_inner().user.unwrap();
    let page = list(String::new(), last.last_sign_in_us).await.unwrap();
    let rest = list(page.next_cursor, last.last_sign_in_us).await.unwrap();
    assert_eq!(rest.users.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["first"], "who has not signed in since");
    let id = made.remove(0).id;
    for garbage in ["x", "1-2", "-", &Uuid::from_slice(&id).unwrap().to_string()] {
        assert_eq!(reason(&list(garbage.to_owned(), 0).await.unwrap_err()), Reason::CursorInvalid, "{garbage}");
    }
}

async fn users_are_listed_by_name_a_page_at_a_time_and_found_three_ways(engine: Engine) {
    let auth = Auth::new(engine).await;
    let mut made = Vec::new();
    for name in ["am_1", "am_2", "am_3", "amX", "bob", "Ämina"] {
        made.push(auth.create(name, "").await);
    }
    auth.operator().change_roles(roles(&made[1], &["nurse"], &[])).await.unwrap();
    auth.operator().change_roles(roles(&made[4], &["nurse \"7\""], &[])).await.unwrap();
    auth.operator().set_user_active(disable(&made[2], "left")).await.unwrap();
    let list = |request: ListUsersRequest| {
        let mut operator = auth.operator();
        async move {
            let page = operator.list_users(request).await.unwrap().into_inner();
            (page.users.into_iter().map(|user| user.username).collect::<Vec<_>>(), page.next_cursor)
        }
    };
    let all = ListUsersRequest::default();
    assert_eq!(list(all.clone()).await, (["amX", "am_1", "am_2", "am_3", "bob", "Ämina"].map(str::to_owned).to_vec(), String::new()));
    let (first, cursor) = list(ListUsersRequest { page_size: 2, prefix: "am_".into(), ..all.clone() }).await;
    let (rest, end) = list(ListUsersRequest { page_size: 2, prefix: "am_".into(), cursor, ..all.clone() }).await;
    assert_eq!(
        (first.as_slice(), rest.as_slice(), end.as_str()),
        (["am_1".to_owned(), "am_2".to_owned()].as_slice(), ["am_3".to_owned()].as_slice(), "")
    );
    assert_eq!(list(ListUsersRequest { role: "nurse".into(), ..all.clone() }).await.0, ["am_2"]);
    assert_eq!(list(ListUsersRequest { only_disabled: true, ..all.clone() }).await.0, ["am_3"]);
    let garbage = auth.operator().list_users(ListUsersRequest { cursor: "bob".into(), ..all }).await.unwrap_err();
    assert_eq!(reason(&garbage), Reason::CursorInvalid);
    for by in [By::Id(made[4].id.clone()), By::UserId(made[4].user_id), By::Username("bob".into())] {
        let found = auth.gateway().get_user(GetUserRequest { by: Some(by) }).await.unwrap().into_inner().user.unwrap();
        assert_eq!(found.username, "bob");
    }
    for by in [None, Some(By::Id(vec![1]))] {
        assert_eq!(reason(&auth.gateway().get_user(GetUserRequest { by }).await.unwrap_err()), Reason::InputInvalid);
    }
    for by in [By::Id(vec![1; 16]), By::UserId(-1), By::Username("Bob".into()), By::Username("\0".into())] {
        assert_eq!(reason(&auth.gateway().get_user(GetUserRequest { by: Some(by) }).await.unwrap_err()), Reason::UserNotFound);
    }
}

async fn c6_the_first_administrator_has_a_password_that_signs_in_nowhere_until_one_is_set(engine: Engine) {
    let auth = Auth::new(engine).await;
    let file = auth.place.directory().join("first-admin");
    std::fs::write(&file, "x").unwrap();
    let first = auth.app.first_administrator().await.unwrap().unwrap();
    let again = auth.app.first_administrator().await.unwrap().unwrap();
    assert_eq!((first.username.as_str(), again.username.as_str()), ("carelink-admin", "carelink-admin"));
    assert_ne!(
        first.one_time_password.expose_secret(),
        again.one_time_password.expose_secret(),
        "a lost one is replaced by the next start"
    );
    assert_eq!(auth.refused("carelink-admin", again.one_time_password.expose_secret()).await, Reason::CredentialsInvalid);
    let admin = auth.gateway().get_user(GetUserRequest { by: Some(By::Username("carelink-admin".into())) }).await.unwrap();
    let admin = admin.into_inner().user.unwrap();
    assert_eq!(admin.roles, ["admin"]);
    let set = SetPasswordRequest { id: admin.id, password: PASSWORD.into(), reason: String::new() };
    auth.operator().set_password(set).await.unwrap();
    auth.sign_in("carelink-admin", PASSWORD).await.unwrap();
    assert!(auth.app.first_administrator().await.unwrap().is_none(), "from now on one has existed");
    assert!(!file.exists(), "deleted at use");
    assert_eq!(auth.told("user.created").await.len(), 1);
}

async fn c6_an_administrator_made_otherwise_counts_too(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    assert!(auth.app.first_administrator().await.unwrap().is_some(), "nobody yet");
    auth.operator().change_roles(roles(&user, &["admin"], &[])).await.unwrap();
    assert!(auth.app.first_administrator().await.unwrap().is_none());
}

on_both_engines!(
    u4_users_made_here_are_numbered_from_a_thousand_million,
    u1_disabling_and_a_new_password_raise_min_version_a_role_change_does_not,
    every_change_is_an_event_by_its_operator_and_no_change_is_none,
    g3_what_takes_something_away_asks_for_a_reason,
    v3_an_administrator_whom_only_a_stale_verifier_knows_may_take_away_and_give_nothing,
    c7_and_c1_refuse_passwords_names_and_roles_with_a_reason,
    c1_a_new_name_that_looks_like_somebodys_is_taken_and_an_imported_one_is_not,
    users_are_listed_by_when_they_last_signed_in,
    users_are_listed_by_name_a_page_at_a_time_and_found_three_ways,
    c6_the_first_administrator_has_a_password_that_signs_in_nowhere_until_one_is_set,
    c6_an_administrator_made_otherwise_counts_too,
);
