//! Taking a predecessor's users, once and again.

use carelink_proto::auth::{
    ChangeRolesRequest, ImportUsersRequest, ImportUsersResponse, LegacyUser, LegacyUserOutcome, LegacyUserResult, SetPasswordRequest,
    SetUserActiveRequest,
};

use super::*;

const HASH: &str = "pbkdf2_sha256$36000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";
const REHASHED: &str = "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg";
const LEGACY_PASSWORD: &str = "  ward café 🩺 看護 ";

static NAME: Statement = Statement::shared("name", "SELECT username FROM users WHERE user_id = $1");

fn legacy(legacy_id: i64, username: &str) -> LegacyUser {
    LegacyUser {
        legacy_id,
        username: username.into(),
        email: format!("{username}@house.example"),
        password_hash: HASH.into(),
        active: true,
        roles: vec!["nurse".into()],
        joined_us: 1_000_000,
        ..Default::default()
    }
}

fn batch(users: &[LegacyUser]) -> ImportUsersRequest {
    ImportUsersRequest { source: "east".into(), users: users.to_vec(), ..Default::default() }
}

async fn import(auth: &Auth, request: ImportUsersRequest) -> ImportUsersResponse {
    auth.operator().import_users(request).await.unwrap().into_inner()
}

fn results(response: &ImportUsersResponse) -> Vec<LegacyUserResult> {
    response.outcomes.iter().map(LegacyUserOutcome::result).collect()
}

use LegacyUserResult::{Imported, Refused, Unchanged, Updated};

async fn l1_an_imported_user_keeps_its_number_and_signs_in(engine: Engine) {
    let auth = Auth::new(engine).await;
    let users = [legacy(1, "amina"), LegacyUser { active: false, staff: true, superuser: true, ..legacy(2, "bob") }];
    let response = import(&auth, batch(&users)).await;
    assert_eq!((results(&response), response.subjects_pending), (vec![Imported, Imported], 0));
    let amina = &response.outcomes[0];
    assert_eq!((amina.user_id, amina.hasher.as_str()), (1, "pbkdf2_sha256"));
    assert_eq!(auth.played.subject(&amina.id).roles, ["nurse"]);
    let bob = auth.played.subject(&response.outcomes[1].id);
    assert_eq!((bob.active, bob.roles), (false, vec!["nurse".to_owned(), "staff".into(), "superuser".into()]));
    auth.sign_in("amina", LEGACY_PASSWORD).await.unwrap();
    assert_eq!(auth.refused("bob", LEGACY_PASSWORD).await, Reason::CredentialsInvalid);
    assert_eq!((auth.told("user.imported").await.len(), auth.waiting_subjects().await), (2, 0));
    assert_eq!(auth.played.calls.load(std::sync::atomic::Ordering::SeqCst), 1, "one call a batch");
}

async fn l5_again_it_changes_nothing_and_never_undoes_what_happened_here(engine: Engine) {
    let auth = Auth::new(engine).await;
    let users = [legacy(1, "amina"), legacy(2, "bob")];
    let first = import(&auth, batch(&users)).await;
    auth.sign_in("amina", LEGACY_PASSWORD).await.unwrap();
    auth.settle().await;
    let id = first.outcomes[1].id.clone();
    let password = SetPasswordRequest { id: id.clone(), password: PASSWORD.into(), reason: String::new() };
    auth.operator().set_password(password).await.unwrap();
    let roles = ChangeRolesRequest { id: id.clone(), add: vec!["doctor".into()], remove: vec!["nurse".into()], reason: "moved".into() };
    auth.operator().change_roles(roles).await.unwrap();
    let (hashes, events) = ((auth.hash("amina").await, auth.hash("bob").await), auth.events().await.len());
    let again = import(&auth, batch(&users)).await;
    assert_eq!(results(&again), [Unchanged, Unchanged]);
    assert_eq!((auth.hash("amina").await, auth.hash("bob").await), hashes);
    assert_eq!((auth.events().await.len(), auth.played.subject(&id).roles), (events, vec!["doctor".to_owned()]));
    // The source changes both hashes (Django rehashes too) and a role: the rewritten one is replaced, the new password is not.
    let changed = users.map(|user| LegacyUser { password_hash: REHASHED.into(), roles: vec!["patient".into()], ..user });
    let third = import(&auth, batch(&changed)).await;
    assert_eq!(results(&third), [Updated, Unchanged]);
    assert_eq!(third.outcomes[1].kept, ["password", "roles"]);
    assert_eq!((auth.hash("amina").await.0.as_str(), auth.hash("bob").await), (REHASHED, hashes.1));
    let amina = auth.played.subject(&first.outcomes[0].id);
    assert_eq!((amina.min_version, amina.roles), (0, vec!["patient".to_owned()]), "a changed hash alone ends nothing");
    auth.sign_in("bob", PASSWORD).await.unwrap();
}

async fn l5_inactive_in_the_source_always_disables(engine: Engine) {
    let auth = Auth::new(engine).await;
    let first = import(&auth, batch(&[legacy(1, "amina")])).await;
    let id = first.outcomes[0].id.clone();
    let off = LegacyUser { active: false, ..legacy(1, "amina") };
    assert_eq!(results(&import(&auth, batch(std::slice::from_ref(&off))).await), [Updated]);
    let held = auth.played.subject(&id);
    assert_eq!((held.active, held.version, held.min_version), (false, 2, 2));
    let enable = SetUserActiveRequest { id: id.clone(), active: true, reason: String::new() };
    auth.operator().set_user_active(enable).await.unwrap();
    assert_eq!(results(&import(&auth, batch(std::slice::from_ref(&off))).await), [Updated], "also whom somebody enabled here");
    assert_eq!(results(&import(&auth, batch(&[off])).await), [Unchanged]);
    assert_eq!(results(&import(&auth, batch(&[legacy(1, "amina")])).await), [Updated], "and what the source disabled it enables");
    assert!(auth.played.subject(&id).active);
    assert_eq!((auth.told("user.disabled").await.len(), auth.told("user.enabled").await.len()), (2, 2));
}

async fn l5_disabled_here_stays_disabled(engine: Engine) {
    let auth = Auth::new(engine).await;
    let first = import(&auth, batch(&[legacy(1, "amina")])).await;
    let disable = SetUserActiveRequest { id: first.outcomes[0].id.clone(), active: false, reason: "left".into() };
    auth.operator().set_user_active(disable).await.unwrap();
    let off = LegacyUser { active: false, ..legacy(1, "amina") };
    import(&auth, batch(&[off])).await;
    let back = import(&auth, batch(&[legacy(1, "amina")])).await;
    assert_eq!((results(&back), back.outcomes[0].kept.as_slice()), (vec![Unchanged], ["active".to_owned()].as_slice()));
    assert!(!auth.played.subject(&first.outcomes[0].id).active);
}

async fn l1_a_second_source_gets_new_numbers_and_colliding_names_are_refused_unless_qualified(engine: Engine) {
    let auth = Auth::new(engine).await;
    import(&auth, batch(&[legacy(1, "amina"), legacy(2, "bob")])).await;
    let west = |users: &[LegacyUser], qualify| ImportUsersRequest { source: "west".into(), qualify, ..batch(users) };
    let users = [legacy(1, "chloe"), legacy(2, "amina"), legacy(3_000_000_000, "dmitri")];
    let second = import(&auth, west(&users, false)).await;
    assert_eq!(results(&second), [Imported, Refused, Imported]);
    assert_eq!((second.outcomes[0].user_id, second.outcomes[1].reason.as_str()), (1_000_000_000, "name_taken"));
    assert_eq!((second.outcomes[2].user_id, second.outcomes[1].id.is_empty()), (1_000_000_001, true));
    let qualified = import(&auth, west(&users, true)).await;
    assert_eq!(results(&qualified), [Unchanged, Imported, Unchanged]);
    auth.sign_in("amina@west", LEGACY_PASSWORD).await.unwrap();
    assert_eq!(results(&import(&auth, west(&users, false)).await), [Unchanged, Unchanged, Unchanged], "qualified once, known by its key");
    // A number of our own range that the source has already is passed over.
    let far = LegacyUser { legacy_id: 1_000_000_003, ..legacy(1, "far") };
    assert_eq!(import(&auth, west(&[far, legacy(9, "esra")], false)).await.outcomes[0].user_id, 1_000_000_003);
    for number in 0..3 {
        auth.create(&format!("made{number}"), "").await;
    }
}

async fn a_dry_run_decides_the_same_and_writes_nothing(engine: Engine) {
    let auth = Auth::new(engine).await;
    let users = [legacy(1, "amina"), legacy(2, "amina"), LegacyUser { password_hash: "sha1$a$b".into(), ..legacy(3, "old") }];
    let events = auth.events().await.len();
    let dry = import(&auth, ImportUsersRequest { dry_run: true, ..batch(&users) }).await;
    assert_eq!((results(&dry), dry.subjects_pending), (vec![Imported, Refused, Refused], 0));
    assert_eq!(dry.outcomes[0].id.len(), 16);
    assert_eq!((auth.events().await.len(), auth.played.calls.load(std::sync::atomic::Ordering::SeqCst)), (events, 0));
    let real = import(&auth, batch(&users)).await;
    assert_eq!(results(&real), results(&dry));
    assert_eq!(
        real.outcomes.iter().map(|o| (o.reason.as_str(), o.hasher.as_str())).collect::<Vec<_>>(),
        [("", "pbkdf2_sha256"), ("name_taken", "pbkdf2_sha256"), ("hasher_unknown", "unknown")]
    );
    let again = import(&auth, ImportUsersRequest { dry_run: true, ..batch(&users) }).await;
    assert_eq!(again.outcomes[0].id, real.outcomes[0].id);
}

async fn l2_reserved_roles_are_dropped_and_told_md5_is_imported_and_told(engine: Engine) {
    let auth = Auth::new(engine).await;
    let admin = LegacyUser { roles: vec!["admin".into(), "auditor".into(), "nurse".into()], superuser: true, ..legacy(1, "root") };
    let md5 = LegacyUser { password_hash: "md5$salt$7267a79720379aba3801c447798d40c4".into(), ..legacy(2, "old") };
    let response = import(&auth, batch(&[admin.clone(), md5])).await;
    assert_eq!(response.outcomes[0].dropped_roles, ["admin", "auditor"]);
    assert_eq!(auth.played.subject(&response.outcomes[0].id).roles, ["nurse", "superuser"]);
    assert_eq!((response.outcomes[1].result(), response.outcomes[1].reason.as_str()), (Imported, "md5_not_allowed"));
    assert!(auth.app.first_administrator().await.unwrap().is_some());
    let by_word = import(&auth, ImportUsersRequest { superusers_as_admins: true, ..batch(&[admin]) }).await;
    assert_eq!(results(&by_word), [Updated]);
    assert_eq!(auth.played.subject(&response.outcomes[0].id).roles, ["admin", "nurse", "superuser"]);
    assert!(auth.app.first_administrator().await.unwrap().is_none());
}

async fn u3_an_import_while_token_service_is_away_says_how_many_wait(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.played.away.store(true, std::sync::atomic::Ordering::SeqCst);
    let users: Vec<_> = (1..=700).map(|n| legacy(n, &format!("user{n}"))).collect();
    let response = import(&auth, batch(&users)).await;
    assert_eq!((response.subjects_pending, auth.waiting_subjects().await), (700, 700));
    let too_many: Vec<_> = (1..=1_001).map(|n| legacy(n, "x")).collect();
    assert_eq!(reason(&auth.operator().import_users(batch(&too_many)).await.unwrap_err()), Reason::InputInvalid);
    let source = ImportUsersRequest { source: "../east".into(), ..batch(&[]) };
    assert_eq!(reason(&auth.operator().import_users(source).await.unwrap_err()), Reason::InputInvalid);
}

async fn l5_names_move_from_one_user_to_the_next_within_a_batch_whatever_its_order(engine: Engine) {
    let auth = Auth::new(engine).await;
    let named = |names: [&str; 4]| (1..).zip(names).map(|(id, name)| legacy(id, name)).collect::<Vec<_>>();
    import(&auth, batch(&named(["amina", "bob", "chloe", "dmitri"]))).await;
    // Two give up a name before the next wants it; the last wants one that is still somebody's, and gets it with the next import.
    let moved = named(["anna", "amina", "bob", "chloe"]);
    assert_eq!(results(&import(&auth, batch(&moved)).await), [Updated; 4]);
    let backwards = import(&auth, batch(&named(["amina", "bob", "chloe", "dora"]))).await;
    assert_eq!((results(&backwards)[3], backwards.outcomes[0].kept.as_slice()), (Updated, ["username".to_owned()].as_slice()));
    for _ in 0..3 {
        import(&auth, batch(&named(["amina", "bob", "chloe", "dora"]))).await;
    }
    for (number, name) in (1..).zip(["amina", "bob", "chloe", "dora"]) {
        assert_eq!(auth.app.store.db.query(&NAME, args![number]).await.unwrap()[0].get::<String>("username").unwrap(), name);
    }
}

async fn l1_a_key_that_comes_twice_in_a_batch_is_one_user(engine: Engine) {
    let auth = Auth::new(engine).await;
    let users = [legacy(1, "amina"), legacy(2, "bob"), LegacyUser { active: false, ..legacy(1, "amina") }, legacy(2, "bob")];
    let response = import(&auth, batch(&users)).await;
    assert_eq!(results(&response), [Imported, Imported, Updated, Unchanged]);
    assert_eq!(response.outcomes[0].id, response.outcomes[2].id);
    assert!(!auth.played.subject(&response.outcomes[0].id).active);
    assert_eq!(auth.waiting_subjects().await, 0);
}

async fn u4_whose_number_lies_in_our_own_range_keeps_it_before_we_hand_it_out(engine: Engine) {
    let auth = Auth::new(engine).await;
    let users = [legacy(3_000_000_000, "far"), legacy(1_000_000_000, "own"), legacy(3_000_000_001, "farther")];
    let response = import(&auth, batch(&users)).await;
    let numbers: Vec<_> = response.outcomes.iter().map(|outcome| outcome.user_id).collect();
    assert_eq!(numbers, [1_000_000_001, 1_000_000_000, 1_000_000_002]);
    assert_eq!(auth.create("here", "").await.user_id, 1_000_000_003);
}

on_both_engines!(
    l5_names_move_from_one_user_to_the_next_within_a_batch_whatever_its_order,
    l1_a_key_that_comes_twice_in_a_batch_is_one_user,
    u4_whose_number_lies_in_our_own_range_keeps_it_before_we_hand_it_out,
    l1_an_imported_user_keeps_its_number_and_signs_in,
    l5_again_it_changes_nothing_and_never_undoes_what_happened_here,
    l5_inactive_in_the_source_always_disables,
    l5_disabled_here_stays_disabled,
    l1_a_second_source_gets_new_numbers_and_colliding_names_are_refused_unless_qualified,
    a_dry_run_decides_the_same_and_writes_nothing,
    l2_reserved_roles_are_dropped_and_told_md5_is_imported_and_told,
    u3_an_import_while_token_service_is_away_says_how_many_wait,
);
