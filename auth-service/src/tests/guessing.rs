//! Guessing at accounts (C4, C5): three ways that close by their own failures, the same for names that nobody has.

use carelink_proto::auth::{
    GuessingWay, SetPasswordRequest, ShowGuessingRequest, ShowGuessingResponse, UnlockUserRequest, VerifyPasswordResponse,
    show_guessing_request::By,
};
use futures::future::join_all;

use super::*;

const HOME: &str = "198.51.100.1";

/// Somebody who tries from somewhere, by a device.
#[derive(Clone, Copy)]
struct Here<'a> {
    auth: &'a Auth,
    network: &'a str,
    device: &'a str,
}

impl<'a> Here<'a> {
    fn at(auth: &'a Auth, network: &'a str) -> Self {
        Self { auth, network, device: "" }
    }

    async fn tries(self, username: &str, password: &str) -> Result<VerifyPasswordResponse, Reason> {
        self.asks(VerifyPasswordRequest { username: username.into(), password: password.into(), ..Default::default() }).await
    }

    async fn asks(self, request: VerifyPasswordRequest) -> Result<VerifyPasswordResponse, Reason> {
        let request = VerifyPasswordRequest { network: self.network.into(), known_device: self.device.into(), ..request };
        let answer = self.auth.gateway().verify_password(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| reason(&status))
    }

    /// So many wrong tries, of which so many were looked at.
    async fn guesses(self, username: &str, times: usize) -> usize {
        let answers = join_all((0..times).map(|_| self.tries(username, "wrong"))).await;
        let looked_at = answers.iter().filter(|answer| **answer == Err(Reason::CredentialsInvalid)).count();
        assert!(answers.iter().all(|answer| matches!(answer, Err(Reason::CredentialsInvalid | Reason::Throttled))), "{answers:?}");
        looked_at
    }
}

async fn quick(engine: Engine) -> Auth {
    Auth::with(engine, Config { queue: Duration::from_secs(8), ..Config::default() }, Clock::system()).await
}

/// Networks that nobody has signed in from.
fn elsewhere(number: usize) -> String {
    format!("203.0.113.{number}")
}

async fn shown(auth: &Auth, by: By) -> ShowGuessingResponse {
    auth.operator().show_guessing(ShowGuessingRequest { by: Some(by) }).await.unwrap().into_inner()
}

fn failures(shown: &ShowGuessingResponse) -> Vec<u32> {
    shown.counts.iter().map(|count| count.failures).collect()
}

async fn c5_three_ways_close_by_their_own_failures_and_a_success_opens_all(engine: Engine) {
    let auth = quick(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let device = Here::at(&auth, HOME).tries("amina", PASSWORD).await.unwrap().known_device;
    let (one, home) = (elsewhere(1), Here::at(&auth, HOME));
    // Strangers: 20 from one network, 60 in all; then not even the right password is looked at.
    assert_eq!(Here::at(&auth, &one).guesses("amina", 30).await, 20);
    for (number, looked_at) in [(2, 20), (3, 20), (4, 0)] {
        assert_eq!(Here::at(&auth, &elsewhere(number)).guesses("amina", 25).await, looked_at);
    }
    assert_eq!(Here::at(&auth, &elsewhere(5)).tries("amina", PASSWORD).await, Err(Reason::Throttled));
    // Whoever comes from a known network is none of them, nor is the device wherever it is.
    assert_eq!(home.guesses("amina", 30).await, 25);
    let away = elsewhere(6);
    let tablet = Here { device: &device, ..Here::at(&auth, &away) };
    assert_eq!(tablet.guesses("amina", 14).await, 14);
    let now = shown(&auth, By::Id(user.id.clone())).await;
    assert_eq!((failures(&now), now.networks, now.networks_closed, now.known_networks), (vec![60, 25, 14], 3, 3, 1));
    assert_eq!(now.counts.iter().map(|count| count.limit).collect::<Vec<_>>(), [60, 25, 15]);
    assert!(now.last_us > 0);
    // A success by one way opens all three.
    tablet.tries("amina", PASSWORD).await.unwrap();
    assert_eq!(failures(&shown(&auth, By::Username("amina".into())).await), [0, 0, 0]);
    assert_eq!(Here::at(&auth, &one).guesses("amina", 1).await + home.guesses("amina", 1).await, 2);
    let closed: Vec<_> = auth.told("guessing.closed").await.into_iter().map(|event| event.reason).collect();
    assert_eq!(closed, ["one_network", "one_network", "strangers", "known_networks"]);
    assert!(auth.told("guessing.closed").await.iter().all(|event| event.subject == user.id));
}

async fn c4_a_throttled_try_is_neither_hashed_nor_counted_and_a_flood_is_few_events(engine: Engine) {
    let auth = quick(engine).await;
    auth.create("amina", PASSWORD).await;
    let one = elsewhere(1);
    let stranger = Here::at(&auth, &one);
    assert_eq!(stranger.guesses("amina", 60).await, 20, "however many ask at once");
    assert_eq!(auth.told("sign_in.failed").await.len(), 20);
    assert!((1..=4).contains(&auth.told("sign_in.throttled").await.len()));
    let now = shown(&auth, By::Username("amina".into())).await;
    assert_eq!((failures(&now), now.networks_closed), (vec![20, 0, 0], 1));
}

async fn c4_a_try_that_finds_the_queue_full_is_given_back(engine: Engine) {
    let auth = Auth::with(engine, Config { queue: Duration::from_millis(100), threads: 1, ..Config::default() }, Clock::system()).await;
    // The dummy is as dear as the dearest hash that is stored: a tenth of a second or so.
    let dear = "pbkdf2_sha256$300000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";
    let user = carelink_proto::auth::LegacyUser {
        legacy_id: 1,
        username: "amina".into(),
        password_hash: dear.into(),
        active: true,
        ..Default::default()
    };
    let request = carelink_proto::auth::ImportUsersRequest { source: "east".into(), users: vec![user], ..Default::default() };
    auth.operator().import_users(request).await.unwrap();
    let networks: Vec<_> = (0..20).map(elsewhere).collect();
    let answers = join_all(networks.iter().cycle().take(40).map(|network| Here::at(&auth, network).tries("amina", "wrong"))).await;
    let looked_at = answers.iter().filter(|answer| **answer == Err(Reason::CredentialsInvalid)).count();
    assert!(looked_at < 40 && answers.contains(&Err(Reason::QueueFull)), "{looked_at}");
    let now = shown(&auth, By::Username("amina".into())).await;
    assert_eq!(failures(&now), [u32::try_from(looked_at).unwrap(), 0, 0]);
}

async fn c5_names_that_nobody_has_are_counted_alike(engine: Engine) {
    let auth = quick(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    for name in ["amina", "canary-nobody", "nul\0name"] {
        for (number, looked_at) in [(1, 20), (2, 20), (3, 20), (4, 0)] {
            assert_eq!(Here::at(&auth, &elsewhere(number)).guesses(name, 21).await, looked_at, "{name}");
        }
        let now = shown(&auth, By::Username(name.into())).await;
        assert_eq!((failures(&now), now.networks, now.networks_closed), (vec![60, 0, 0], 3, 3), "{name}");
    }
    let told = auth.told("guessing.closed").await;
    assert_eq!(told.iter().filter(|event| event.subject == user.id).count(), 3);
    assert_eq!(told.iter().filter(|event| event.object.starts_with("name:")).count(), 6);
    for bytes in places::everything(&auth.place) {
        assert!(!bytes.windows(8).any(|window| window == b"canary-n" || window == b"203.0.11"));
    }
}

async fn c5_an_operator_opens_an_account_and_a_new_password_does(engine: Engine) {
    let auth = quick(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let one = elsewhere(1);
    let stranger = Here::at(&auth, &one);
    assert_eq!(stranger.guesses("amina", 21).await, 20);
    let unlock = UnlockUserRequest { id: user.id.clone(), reason: "called from the ward".into() };
    assert!(auth.operator().unlock_user(unlock.clone()).await.unwrap().into_inner().opened.is_empty(), "a network is no way");
    for number in 1..=3 {
        Here::at(&auth, &elsewhere(number)).guesses("amina", 20).await;
    }
    let opened = auth.operator().unlock_user(unlock).await.unwrap().into_inner().opened;
    assert_eq!(opened, [i32::from(GuessingWay::Strangers)]);
    assert_eq!(stranger.guesses("amina", 21).await, 20);
    let set = SetPasswordRequest { id: user.id.clone(), password: "another night 21 ward".into(), reason: String::new() };
    auth.operator().set_password(set).await.unwrap();
    assert!(stranger.tries("amina", "another night 21 ward").await.is_ok());
    let told = auth.told("user.unlocked").await;
    assert_eq!((told.len(), told[1].details["strangers"].as_str()), (2, "60"));
    let nobody = UnlockUserRequest { id: vec![9; 16], reason: String::new() };
    assert_eq!(reason(&auth.operator().unlock_user(nobody).await.unwrap_err()), Reason::UserNotFound);
}

async fn c5_a_device_and_a_network_are_known_of_their_user_alone(engine: Engine) {
    let auth = quick(engine).await;
    auth.create("amina", PASSWORD).await;
    auth.create("bob", PASSWORD).await;
    let (home, away) = (Here::at(&auth, HOME), elsewhere(1));
    let device = home.tries("amina", PASSWORD).await.unwrap();
    assert!(device.known_device_seconds > 30 * 24 * 60 * 60);
    let tablet = Here { device: &device.known_device, ..Here::at(&auth, &away) };
    for (name, expected) in [("amina", [0, 1, 1]), ("bob", [2, 0, 0])] {
        tablet.guesses(name, 1).await;
        home.guesses(name, 1).await;
        assert_eq!(failures(&shown(&auth, By::Username(name.into())).await), expected, "{name}");
    }
    // An address and a name are one account.
    let forged = Here { device: "AAAA", ..Here::at(&auth, &away) };
    forged.guesses("amina", 1).await;
    assert_eq!(failures(&shown(&auth, By::Username("amina".into())).await), [1, 1, 1]);
}

async fn c4_where_only_known_origins_are_tried_strangers_are_not_counted(engine: Engine) {
    let auth = quick(engine).await;
    auth.create("amina", PASSWORD).await;
    let away = elsewhere(1);
    let device = Here::at(&auth, HOME).tries("amina", PASSWORD).await.unwrap().known_device;
    let only = |password: &str| VerifyPasswordRequest {
        username: "amina".into(),
        password: password.into(),
        known_origins_only: true,
        ..Default::default()
    };
    assert_eq!(Here::at(&auth, &away).asks(only(PASSWORD)).await, Err(Reason::Throttled));
    assert_eq!(Here::at(&auth, &away).asks(only("wrong")).await, Err(Reason::Throttled));
    assert_eq!(failures(&shown(&auth, By::Username("amina".into())).await), [0, 0, 0]);
    assert_eq!(Here::at(&auth, HOME).asks(only("wrong")).await, Err(Reason::CredentialsInvalid));
    Here { device: &device, ..Here::at(&auth, &away) }.asks(only(PASSWORD)).await.unwrap();
}

async fn c5_what_is_old_or_too_much_is_swept(engine: Engine) {
    let auth = quick(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    Here::at(&auth, HOME).tries("amina", PASSWORD).await.unwrap();
    Here::at(&auth, HOME).guesses("nobody", 2).await;
    static AGE: Statement = Statement::shared("age", "UPDATE known_network SET seen_at = later(seen_at, -2595600000000)");
    auth.app.store.db.run(&AGE, args![]).await.unwrap();
    assert_eq!(shown(&auth, By::Id(user.id.clone())).await.known_networks, 0);
    Here::at(&auth, HOME).guesses("amina", 1).await;
    assert_eq!(failures(&shown(&auth, By::Id(user.id)).await), [1, 0, 0], "a stranger after 30 days");
    static LEFT: Statement =
        Statement::shared("left", "SELECT (SELECT count(*) FROM known_network) AS networks, (SELECT count(*) FROM guessing) AS guessed");
    let left = async || {
        let rows = auth.app.store.db.query(&LEFT, args![]).await.unwrap();
        (rows[0].get::<u32>("networks").unwrap(), rows[0].get::<u32>("guessed").unwrap())
    };
    assert_eq!(left().await, (1, 2));
    let shutdown = carelink_platform::lifecycle::Shutdown::new();
    let running = tokio::spawn(auth.app.clone().run(shutdown.clone()));
    let swept = async {
        while left().await.0 > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), swept).await.unwrap();
    shutdown.request();
    running.await.unwrap();
    assert_eq!(left().await, (0, 2), "of names that nobody has the newest are kept");
    static TOO_MANY: Statement = Statement::shared("too_many", include_str!("../store/sql/sweep_guessing.sql"));
    auth.app.store.db.run(&TOO_MANY, args![0, 10]).await.unwrap();
    assert_eq!(left().await, (0, 1), "a user's never go");
}

on_both_engines!(
    c5_three_ways_close_by_their_own_failures_and_a_success_opens_all,
    c4_a_throttled_try_is_neither_hashed_nor_counted_and_a_flood_is_few_events,
    c4_a_try_that_finds_the_queue_full_is_given_back,
    c5_names_that_nobody_has_are_counted_alike,
    c5_an_operator_opens_an_account_and_a_new_password_does,
    c5_a_device_and_a_network_are_known_of_their_user_alone,
    c4_where_only_known_origins_are_tried_strangers_are_not_counted,
    c5_what_is_old_or_too_much_is_swept,
);
