//! Two and more replicas on one PostgreSQL: whatever they do at once, there is one truth, and nothing is lost or done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{lifecycle::Shutdown, secrets::ExposeSecret};
use carelink_proto::{
    auth::{
        ChangeRolesRequest, CreateUserRequest, ImportUsersRequest, LegacyUser, LegacyUserResult, ListUsersRequest, SetPasswordRequest,
        SetUserActiveRequest,
    },
    token::Assertion,
};
use futures::future::join_all;

use super::*;

const HASH: &str = "pbkdf2_sha256$36000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";

/// So many replicas of one service, and what they share.
struct Fleet {
    replicas: Vec<Auth>,
}

impl Fleet {
    async fn of(count: usize) -> Self {
        let (place, played) = (Arc::new(place(Engine::Postgres).await), Arc::<Played>::default());
        let config = BacklogConfig::default();
        let starting = (0..count).map(|_| async {
            let app = build(&place, &played, Config::default(), Clock::system(), config).await;
            Auth { app, played: Arc::clone(&played), place: Arc::clone(&place) }
        });
        Self { replicas: join_all(starting).await }
    }

    fn one(&self) -> &Auth {
        &self.replicas[0]
    }

    /// Runs what replicas do by themselves until `done`.
    async fn running_until(&self, done: impl Future<Output = ()>) {
        let shutdown = Shutdown::new();
        let running: Vec<_> = self.replicas.iter().map(|auth| tokio::spawn(auth.app.clone().run(shutdown.clone()))).collect();
        tokio::time::timeout(Duration::from_secs(60), done).await.unwrap();
        shutdown.request();
        for replica in running {
            replica.await.unwrap();
        }
    }
}

fn legacy(legacy_id: i64) -> LegacyUser {
    LegacyUser { legacy_id, username: format!("user{legacy_id}"), password_hash: HASH.into(), active: true, ..Default::default() }
}

fn said(assertion: &str) -> Assertion {
    let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    Assertion::decode(payload.as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_however_many_replicas_start_at_once_there_is_one_first_administrator() {
    let fleet = Fleet::of(3).await;
    assert_eq!(fleet.one().told("key.created").await.len(), 1, "the key that all derive from the same master key");
    let made: Vec<_> = join_all(fleet.replicas.iter().map(|auth| auth.app.first_administrator())).await;
    let passwords: BTreeSet<_> =
        made.iter().map(|made| made.as_ref().unwrap().as_ref().unwrap().one_time_password.expose_secret()).collect();
    assert_eq!((passwords.len(), fleet.one().told("user.created").await.len()), (3, 1));
    let listed = fleet.one().operator().list_users(ListUsersRequest::default()).await.unwrap().into_inner().users;
    assert_eq!(listed.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["carelink-admin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_in_a_fleet_an_operator_makes_the_first_administrator_and_it_is_known_everywhere() {
    let fleet = Fleet::of(2).await;
    assert!(crate::store::administrator_missing(&fleet.one().app.store).await.unwrap());
    let request =
        CreateUserRequest { username: "amina".into(), password: PASSWORD.into(), roles: vec!["admin".into()], ..Default::default() };
    fleet.replicas[1].operator().create_user(request).await.unwrap();
    assert!(!crate::store::administrator_missing(&fleet.one().app.store).await.unwrap());
    assert!(fleet.one().app.first_administrator().await.unwrap().is_none());
    fleet.one().sign_in("amina", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_given_away_once_whoever_asks_where() {
    let fleet = Fleet::of(2).await;
    for round in 0..20 {
        let create = |auth: &Auth| {
            let request = CreateUserRequest { username: format!("user{round}"), ..Default::default() };
            let mut operator = auth.operator();
            async move { operator.create_user(request).await }
        };
        let both = join_all(fleet.replicas.iter().chain(&fleet.replicas).map(create)).await;
        let refused: Vec<_> = both.iter().filter_map(|made| made.as_ref().err()).map(reason).collect();
        assert_eq!(refused, [Reason::NameTaken; 3]);
    }
    let listed = fleet.one().operator().list_users(ListUsersRequest::default()).await.unwrap().into_inner().users;
    let numbers: BTreeSet<_> = listed.iter().map(|user| user.user_id).collect();
    assert_eq!(numbers, (1_000_000_000..1_000_000_020).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l5_the_same_users_imported_through_two_replicas_at_once_are_taken_once() {
    let fleet = Fleet::of(2).await;
    let import = async |auth: &Auth| {
        let mut imported = 0;
        for batch in 0..5 {
            let users = (batch * 100 + 1..=batch * 100 + 100).map(legacy).collect();
            let request = ImportUsersRequest { source: "east".into(), users, ..Default::default() };
            let outcomes = auth.operator().import_users(request).await.unwrap().into_inner().outcomes;
            imported += outcomes.iter().filter(|outcome| outcome.result() == LegacyUserResult::Imported).count();
            assert!(outcomes.iter().all(|outcome| matches!(outcome.result(), LegacyUserResult::Imported | LegacyUserResult::Unchanged)));
        }
        imported
    };
    let (one, other) = tokio::join!(import(fleet.one()), import(&fleet.replicas[1]));
    assert_eq!(one + other, 500);
    assert_eq!((fleet.one().told("user.imported").await.len(), fleet.one().waiting_subjects().await), (500, 0));
    assert_eq!(fleet.one().played.subjects.lock().unwrap().len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u1_changes_through_two_replicas_are_numbered_without_a_gap_and_the_last_is_held() {
    let fleet = Fleet::of(2).await;
    let user = fleet.one().create("amina", PASSWORD).await;
    let change = async |auth: &Auth, roles: [&str; 2]| {
        for round in 0..15 {
            let [add, remove] = if round % 2 == 0 { roles } else { [roles[1], roles[0]] };
            let roles = ChangeRolesRequest { id: user.id.clone(), add: vec![add.into()], remove: vec![remove.into()], reason: "x".into() };
            auth.operator().change_roles(roles).await.unwrap();
            let active = SetUserActiveRequest { id: user.id.clone(), active: round % 2 == 1, reason: "x".into() };
            auth.operator().set_user_active(active).await.unwrap();
        }
    };
    tokio::join!(change(fleet.one(), ["nurse", "doctor"]), change(&fleet.replicas[1], ["porter", "cook"]));
    let now = fleet.one().operator().list_users(ListUsersRequest::default()).await.unwrap().into_inner().users.remove(0);
    let told = fleet.one().events().await.into_iter().filter(|event| event.r#type.starts_with("user.")).count();
    assert_eq!(now.version, told as u64, "a version for each change that was told, and no other");
    let held = fleet.one().played.subject(&user.id);
    assert_eq!((held.version, held.active, held.roles), (now.version, now.active, now.roles));
    assert_eq!(fleet.one().waiting_subjects().await, 0);
}

/// The order of commits decides: what was signed for the old password is older than what the new one demands, whichever replica did which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_no_assertion_for_an_old_password_outlives_its_change_on_another_replica() {
    let fleet = Fleet::of(2).await;
    let user = fleet.one().create("amina", "night vitals 0 ward").await;
    for round in 0..25 {
        let (old, new) = (format!("night vitals {round} ward"), format!("night vitals {} ward", round + 1));
        let set = SetPasswordRequest { id: user.id.clone(), password: new.clone(), reason: String::new() };
        let mut changing = fleet.replicas[round % 2].operator();
        let trying = fleet.replicas.iter().chain(&fleet.replicas).map(|auth| auth.sign_in("amina", &old));
        let (changed, tried) = tokio::join!(changing.set_password(set), join_all(trying));
        let version = changed.unwrap().into_inner().user.unwrap().version;
        for assertion in tried.into_iter().flatten() {
            assert!(said(&assertion).subject.unwrap().version < version);
        }
        assert_eq!(fleet.one().played.subject(&user.id).min_version, version);
        for auth in &fleet.replicas {
            assert_eq!(auth.refused("amina", &old).await, Reason::CredentialsInvalid);
            assert_eq!(said(&auth.sign_in("amina", &new).await.unwrap()).subject.unwrap().version, version);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_tries_over_two_replicas_are_counted_once_each_and_no_more_are_made() {
    let fleet = Fleet::of(2).await;
    let user = fleet.one().create("amina", PASSWORD).await;
    for _ in 0..3 {
        let all = fleet.replicas.iter().cycle().take(40);
        let refused = join_all(all.map(|auth| auth.refused("amina", "wrong"))).await;
        assert_eq!(refused.iter().filter(|reason| **reason == Reason::CredentialsInvalid).count(), 20);
        assert_eq!(refused.iter().filter(|reason| **reason == Reason::Throttled).count(), 20);
        let unlock = carelink_proto::auth::UnlockUserRequest { id: user.id.clone(), reason: "x".into() };
        fleet.replicas[1].operator().unlock_user(unlock).await.unwrap();
    }
    assert_eq!(fleet.one().told("sign_in.failed").await.len(), 60);
    fleet.one().sign_in("amina", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u3_what_token_service_missed_is_delivered_once_it_is_back_by_whichever_replica() {
    let fleet = Fleet::of(2).await;
    fleet.one().played.away.store(true, Ordering::SeqCst);
    let users = (1..=300).map(legacy).collect();
    let request = ImportUsersRequest { source: "east".into(), users, ..Default::default() };
    let pending = fleet.one().operator().import_users(request).await.unwrap().into_inner().subjects_pending;
    assert_eq!((pending, fleet.one().waiting_subjects().await), (300, 300));
    fleet.one().place.database().unwrap().sql("UPDATE carelink_auth.outbox SET created_at = created_at - interval '90 s'");
    fleet.one().played.away.store(false, Ordering::SeqCst);
    let delivered = async {
        while fleet.one().waiting_subjects().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    fleet.running_until(delivered).await;
    assert_eq!(fleet.one().played.subjects.lock().unwrap().len(), 300);
    let late: BTreeSet<_> = fleet.one().told("subject.delivered_late").await.into_iter().map(|event| event.id).collect();
    assert_eq!(late.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_with_the_trail_away_sign_ins_go_on_and_afterwards_everything_arrives_in_order_in_bounded_batches() {
    let fleet = Fleet::of(2).await;
    fleet.one().create("amina", PASSWORD).await;
    for (batch, auth) in (0..3).zip(fleet.replicas.iter().cycle()) {
        let users = (batch * 1_000 + 1..=batch * 1_000 + 1_000).map(legacy).collect();
        let request = ImportUsersRequest { source: "east".into(), users, ..Default::default() };
        auth.operator().import_users(request).await.unwrap();
    }
    let (shutdown, played) = (Shutdown::new(), &fleet.one().played);
    let running: Vec<_> = fleet.replicas.iter().map(|auth| tokio::spawn(auth.app.clone().run(shutdown.clone()))).collect();
    for auth in fleet.replicas.iter().cycle().take(20) {
        auth.sign_in("amina", PASSWORD).await.unwrap();
    }
    assert!(played.told.lock().unwrap().is_empty());
    played.listening.store(true, Ordering::SeqCst);
    let drained = async {
        loop {
            fleet.replicas[1].sign_in("amina", PASSWORD).await.unwrap();
            if played.told.lock().unwrap().iter().map(Vec::len).sum::<usize>() > 3_040 && fleet.one().events().await.len() < 100 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), drained).await.unwrap();
    shutdown.request();
    for replica in running {
        replica.await.unwrap();
    }
    // But for what a replica says of its own stop after the one that held the lease has gone: that waits for the next start.
    assert!(fleet.one().events().await.len() <= fleet.replicas.len(), "a stop delivers what is there");
    let told = played.told.lock().unwrap();
    assert!(told.iter().all(|batch| batch.len() <= 500), "live traffic gets its turn");
    // By the ids of users, which were handed out in the order of commits: 3,000 of one source, batch after batch.
    let mut seen = BTreeMap::new();
    for (place, event) in told.iter().flatten().map(|body| Event::decode(body.as_slice()).unwrap()).enumerate() {
        seen.entry(event.id).or_insert((place, event.r#type, event.details.get("user_id").cloned()));
    }
    let mut imported: Vec<_> = seen.values().filter(|(_, kind, _)| kind == "user.imported").collect();
    imported.sort();
    let order: Vec<i64> = imported.iter().map(|(_, _, number)| number.as_ref().unwrap().parse().unwrap()).collect();
    assert!(order.iter().copied().eq(1..=3_000), "nothing lost, nothing out of order");
    assert!(seen.values().filter(|(_, kind, _)| kind == "sign_in.succeeded").count() >= 21);
}
