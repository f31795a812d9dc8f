//! What each operation costs in round trips: to PostgreSQL, or to the thread that owns the file.

use carelink_platform::telemetry;
use carelink_proto::auth::{
    ChangePasswordRequest, ChangeRolesRequest, GetUserRequest, ImportUsersRequest, LegacyUser, ListUsersRequest, SetPasswordRequest,
    SetUserActiveRequest, ShowGuessingRequest, UnlockUserRequest, get_user_request::By, show_guessing_request,
};

use super::*;

/// All round trips of this process so far; nothing runs beside in these tests.
fn trips() -> u64 {
    let text = telemetry::metrics_handle().render();
    let counters = text.lines().filter(|line| line.starts_with("carelink_database_round_trips_total{"));
    counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn costs(engine: Engine, what: &str, [sqlite, postgres]: [u64; 2], operation: impl Future<Output = ()>) {
    let before = trips();
    operation.await;
    let budget = if engine == Engine::Sqlite { sqlite } else { postgres };
    assert_eq!(trips() - before, budget, "{what}");
}

fn legacy(legacy_id: i64) -> LegacyUser {
    let role = if legacy_id % 3 == 0 { "doctor" } else { "nurse" };
    LegacyUser {
        legacy_id,
        username: format!("user{legacy_id}"),
        password_hash: "!".into(),
        active: true,
        roles: vec![role.into()],
        ..Default::default()
    }
}

async fn every_operation_keeps_to_its_declared_round_trips(engine: Engine) {
    if std::env::var_os("NEXTEST").is_none() {
        return; // tests that share a process would count each other's
    }
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    auth.sign_in("amina", PASSWORD).await.unwrap(); // what is prepared once is prepared
    let (mut gateway, mut operator) = (auth.gateway(), auth.operator());
    let id = || user.id.clone();
    // Reserve a try and find the user with the hash; write down that they signed in, with the event.
    costs(engine, "VerifyPassword", [2, 2], async { drop(auth.sign_in("amina", PASSWORD).await.unwrap()) }).await;
    costs(engine, "VerifyPassword, refused", [2, 2], async { drop(auth.sign_in("amina", "wrong").await.unwrap_err()) }).await;
    let by_id = GetUserRequest { by: Some(By::Id(id())) };
    costs(engine, "GetUser", [1, 1], async { drop(gateway.get_user(by_id).await.unwrap()) }).await;
    costs(engine, "ListUsers", [1, 1], async { drop(operator.list_users(ListUsersRequest::default()).await.unwrap()) }).await;
    // What changes a user ends with the acknowledged snapshot leaving the outbox.
    costs(engine, "CreateUser", [3, 11], async { drop(auth.create("bob", PASSWORD).await) }).await;
    let roles = ChangeRolesRequest { id: id(), add: vec!["nurse".into()], ..Default::default() };
    costs(engine, "ChangeRoles", [2, 6], async { drop(operator.change_roles(roles).await.unwrap()) }).await;
    let disable = SetUserActiveRequest { id: id(), active: false, reason: "left".into() };
    costs(engine, "SetUserActive", [2, 6], async { drop(operator.set_user_active(disable).await.unwrap()) }).await;
    let set = SetPasswordRequest { id: id(), password: "another night 21 ward".into(), reason: String::new() };
    costs(engine, "SetPassword", [3, 11], async { drop(operator.set_password(set).await.unwrap()) }).await;
    let own =
        ChangePasswordRequest { current_password: "another night 21 ward".into(), new_password: PASSWORD.into(), ..Default::default() };
    let enable = SetUserActiveRequest { id: id(), active: true, reason: String::new() };
    operator.set_user_active(enable).await.unwrap();
    // Reserve a try and find the user; then as above.
    let amina = token(&user.id, 1, "nurse", false);
    costs(engine, "ChangePassword", [3, 11], async { drop(gateway.change_password(on_behalf(&amina, own)).await.unwrap()) }).await;
    let unlock = UnlockUserRequest { id: id(), reason: String::new() };
    costs(engine, "UnlockUser", [1, 5], async { drop(operator.unlock_user(unlock).await.unwrap()) }).await;
    let show = ShowGuessingRequest { by: Some(show_guessing_request::By::Id(id())) };
    costs(engine, "ShowGuessing", [2, 2], async { drop(operator.show_guessing(show).await.unwrap()) }).await;
    // Batches, whatever their size; 1,000 snapshots are acknowledged in two calls.
    let batch = |users: Vec<LegacyUser>| ImportUsersRequest { source: "east".into(), users, ..Default::default() };
    let all: Vec<_> = (1..=1_000).map(legacy).collect();
    let moved: Vec<_> = all.iter().map(|user| LegacyUser { roles: vec!["porter".into()], email: "a@x".into(), ..user.clone() }).collect();
    for (what, budget, users) in [
        ("ImportUsers, one new", [3, 11], vec![legacy(2_000)]),
        ("ImportUsers, a thousand new", [4, 12], all.clone()),
        ("ImportUsers, a thousand unchanged", [2, 5], all),
        ("ImportUsers, a thousand changed", [4, 11], moved),
    ] {
        costs(engine, what, budget, async { drop(operator.import_users(batch(users)).await.unwrap()) }).await;
    }
}

on_both_engines!(every_operation_keeps_to_its_declared_round_trips);
