//! Signing in: what opens an account, what does not, and that nobody can tell why.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_proto::{
    auth::{CreateUserRequest, GetUserRequest, ImportUsersRequest, LegacyUser, SetUserActiveRequest, get_user_request::By},
    token::Assertion,
};
use futures::future::join_all;

use super::*;
use crate::{
    domain::{
        hasher::{Argon2Variant, CostClass},
        user::StoredHash,
    },
    store,
};

const PBKDF2: &str = "pbkdf2_sha256$36000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=";
const MD5: &str = "md5$dBeHc0VljOCHbsJ8JVZAoP$7267a79720379aba3801c447798d40c4";
const LEGACY_PASSWORD: &str = "  ward café 🩺 看護 ";

async fn import(auth: &Auth, legacy_id: i64, username: &str, hash: &str) {
    let user = LegacyUser { legacy_id, username: username.into(), password_hash: hash.into(), active: true, ..Default::default() };
    let request = ImportUsersRequest { source: "east".into(), users: vec![user], ..Default::default() };
    auth.operator().import_users(request).await.unwrap();
}

async fn g1_a_right_password_gets_an_assertion_of_the_snapshot_for_its_presenter(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina21", PASSWORD).await;
    let assertion = auth.sign_in(" amina21\t", PASSWORD).await.unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let key = crate::assertion_key(&MasterKey::new([7; 32])).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, key.public_key).verify(signed.as_bytes(), &signature).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap();
    let said = Assertion::decode(payload.as_slice()).unwrap();
    assert_eq!((said.presenter.as_str(), said.subject.as_ref()), ("gateway", Some(&auth.played.subject(&user.id))));
    let told = auth.told("sign_in.succeeded").await;
    assert_eq!((told.len(), &told[0].subject), (1, &user.id));
    let found = auth.gateway().get_user(GetUserRequest { by: Some(By::Id(user.id)) }).await.unwrap().into_inner().user.unwrap();
    assert!(found.last_sign_in_us > 0);
}

async fn c3_all_failures_get_the_same_answer_at_the_floor_and_the_trail_their_reason(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.create("amina21", PASSWORD).await;
    auth.create("nobody", "").await;
    let bob = auth.create("bob", PASSWORD).await;
    let disable = SetUserActiveRequest { id: bob.id, active: false, reason: "left".into() };
    auth.operator().set_user_active(disable).await.unwrap();
    import(&auth, 5, "old", MD5).await;
    let cases = [
        ("amina21", "night vitals 22 ward", "password_wrong"),
        ("unknown canary", PASSWORD, "user_unknown"),
        ("nul\0name", PASSWORD, "user_unknown"),
        ("", PASSWORD, "user_unknown"),
        ("bob", PASSWORD, "user_inactive"),
        ("nobody", PASSWORD, "password_unusable"),
        ("nobody", "", "password_unusable"),
        ("old", LEGACY_PASSWORD, "hasher_not_allowed"),
    ];
    for (name, password, expected) in cases {
        let before = auth.events().await.len();
        let began = Instant::now();
        let failure = auth.sign_in(name, password).await.unwrap_err();
        assert!(began.elapsed() >= FLOOR, "{expected}: {:?}", began.elapsed());
        assert_eq!((failure.reason(), failure.text()), (Reason::CredentialsInvalid, Reason::CredentialsInvalid.title()));
        let events = auth.events().await;
        assert_eq!(events.len(), before + 1, "the same rows whoever is named");
        let event = events.last().unwrap();
        assert_eq!((event.r#type.as_str(), event.reason.as_str()), ("sign_in.failed", expected));
        assert_eq!(event.subject.is_empty(), expected == "user_unknown");
        assert_eq!(event.object.starts_with("name:"), expected == "user_unknown");
        assert!(event.personal.is_some() && !format!("{event:?}").contains("192.0.2.7"), "where from is sealed");
    }
    let endless = auth.sign_in("amina21", &"x".repeat(70_000)).await.unwrap_err();
    assert_eq!(endless.reason(), Reason::InputInvalid);
    let unknown: Vec<_> =
        auth.told("sign_in.failed").await.into_iter().map(|event| event.object).filter(|object| !object.is_empty()).collect();
    assert_ne!(unknown[0], unknown[1]);
}

async fn c3_a_second_try_doubles_the_floor(engine: Engine) {
    let auth = Auth::new(engine).await;
    let began = Instant::now();
    auth.refused("unknown", " trimmed differs").await;
    assert!(began.elapsed() >= FLOOR * 2);
}

async fn c2_a_password_is_tried_as_received_then_trimmed_and_ours_in_nfc(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.create("amina21", "café vitals 21 ward").await;
    auth.create("spaces", " night vitals 21 ward ").await;
    auth.sign_in("amina21", "cafe\u{301} vitals 21 ward").await.unwrap();
    auth.sign_in("amina21", "  café vitals 21 ward\n").await.unwrap();
    auth.sign_in("spaces", " night vitals 21 ward ").await.unwrap();
    assert_eq!(auth.refused("spaces", PASSWORD).await, Reason::CredentialsInvalid);
    let exact = VerifyPasswordRequest { username: " amina21".into(), password: "café vitals 21 ward".into(), ..Default::default() };
    assert_eq!(reason(&auth.gateway().verify_password(exact).await.unwrap_err()), Reason::CredentialsInvalid);
}

async fn c1_an_email_signs_in_its_only_active_holder_unless_it_is_a_name(engine: Engine) {
    let auth = Auth::new(engine).await;
    let create = |username: &str, email: &str, password: &str| CreateUserRequest {
        username: username.into(),
        email: email.into(),
        password: password.into(),
        ..Default::default()
    };
    for (username, email, password) in [
        ("amina", "amina@house.example", PASSWORD),
        ("one", "shared@house.example", PASSWORD),
        ("two", "shared@house.example", PASSWORD),
        ("three", "named@house.example", PASSWORD),
        ("named@house.example", "", "another night 21 vitals"),
        ("none", "", PASSWORD),
    ] {
        auth.operator().create_user(create(username, email, password)).await.unwrap();
    }
    auth.sign_in("amina@house.example", PASSWORD).await.unwrap();
    assert_eq!(auth.refused("Amina@house.example", PASSWORD).await, Reason::CredentialsInvalid, "byte for byte");
    assert_eq!(auth.refused("shared@house.example", PASSWORD).await, Reason::CredentialsInvalid);
    assert_eq!(auth.refused("named@house.example", PASSWORD).await, Reason::CredentialsInvalid);
    assert_eq!(auth.refused("", PASSWORD).await, Reason::CredentialsInvalid);
    let two = auth.gateway().get_user(GetUserRequest { by: Some(By::Username("two".into())) }).await.unwrap().into_inner().user.unwrap();
    let disable = SetUserActiveRequest { id: two.id, active: false, reason: "left".into() };
    auth.operator().set_user_active(disable).await.unwrap();
    auth.sign_in("shared@house.example", PASSWORD).await.unwrap();
}

async fn c3_the_first_sign_in_rewrites_the_hash_and_keeps_the_string_that_verified(engine: Engine) {
    let auth = Auth::new(engine).await;
    import(&auth, 1, "amina", PBKDF2).await;
    auth.sign_in("amina", LEGACY_PASSWORD).await.unwrap();
    auth.settle().await;
    let (hash, form) = auth.hash("amina").await;
    assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    assert_eq!(form, "raw", "imported passwords are compared as they are");
    let told = auth.told("password.upgraded").await;
    assert_eq!((told[0].details["from"].as_str(), told[0].details["to"].as_str()), ("pbkdf2_sha256", "argon2id"));
    auth.sign_in("amina", LEGACY_PASSWORD).await.unwrap();
    assert_eq!(auth.refused("amina", LEGACY_PASSWORD.trim()).await, Reason::CredentialsInvalid);
    auth.settle().await;
    assert_eq!(auth.hash("amina").await.0, hash, "and only the first");
}

async fn an_argon2_hash_of_other_parameters_is_rewritten_in_either_direction(engine: Engine) {
    let auth = Auth::new(engine).await;
    let dearer = "argon2$argon2id$v=19$m=512,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$SeSRtjxbBvYDkGZLoUhfXg";
    import(&auth, 1, "dearer", dearer).await;
    auth.sign_in("dearer", LEGACY_PASSWORD).await.unwrap();
    auth.settle().await;
    assert!(auth.hash("dearer").await.0.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
}

async fn c3_a_rehash_never_undoes_a_newer_password(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = auth.create("amina", PASSWORD).await;
    let id = Uuid::from_slice(&user.id).unwrap();
    let class = CostClass::Argon2(Argon2Variant::Id, CHEAP);
    let old = StoredHash::new(PBKDF2.to_owned());
    let upgraded = store::upgrade_password(&auth.app.store, id, class, old, StoredHash::new("stale".to_owned()), class).await.unwrap();
    assert!(!upgraded && auth.told("password.upgraded").await.is_empty());
    auth.sign_in("amina", PASSWORD).await.unwrap();
}

async fn c3_past_the_queue_the_answer_is_429_and_a_flood_is_few_events(engine: Engine) {
    let auth = Auth::with(engine, Config { queue: Duration::from_millis(100), threads: 1, ..Config::default() }, Clock::system()).await;
    // 300,000 rounds of PBKDF2 take a tenth of a second or so each.
    import(&auth, 1, "dear", "pbkdf2_sha256$300000$0123456789ab$bMzyquONiGBcBwe1qZLKDI+VmyP9aAiRwXqtJ998bMM=").await;
    let all = join_all((0..40).map(async |at| auth.sign_in(&format!("unknown{at}"), "x").await)).await;
    let refused: Vec<_> = all.into_iter().map(Result::unwrap_err).collect();
    let throttled: Vec<_> = refused.iter().filter(|failure| failure.reason() == Reason::QueueFull).collect();
    assert!(throttled.len() > 20, "{}", throttled.len());
    assert!(throttled.iter().all(|failure| failure.retry().is_some_and(|after| after >= Duration::from_millis(100))));
    let told = auth.told("sign_in.throttled").await;
    assert!((1..=3).contains(&told.len()), "{}", told.len());
    assert_eq!(auth.told("sign_in.failed").await.len(), 40 - throttled.len(), "a throttled try is not counted");
}

async fn secrets_and_typed_names_are_in_no_row(engine: Engine) {
    let auth = Auth::new(engine).await;
    auth.create("amina21", "canary-password one two").await;
    auth.refused("canary-name", "canary-password three").await;
    auth.sign_in("amina21", "canary-password one two").await.unwrap();
    auth.settle().await;
    for bytes in places::everything(&auth.place) {
        assert!(!bytes.windows(8).any(|window| window == b"canary-p" || window == b"canary-n"));
        assert!(!bytes.windows(9).any(|window| window == b"192.0.2.7"));
    }
}

on_both_engines!(
    g1_a_right_password_gets_an_assertion_of_the_snapshot_for_its_presenter,
    c3_all_failures_get_the_same_answer_at_the_floor_and_the_trail_their_reason,
    c3_a_second_try_doubles_the_floor,
    c2_a_password_is_tried_as_received_then_trimmed_and_ours_in_nfc,
    c1_an_email_signs_in_its_only_active_holder_unless_it_is_a_name,
    c3_the_first_sign_in_rewrites_the_hash_and_keeps_the_string_that_verified,
    an_argon2_hash_of_other_parameters_is_rewritten_in_either_direction,
    c3_a_rehash_never_undoes_a_newer_password,
    c3_past_the_queue_the_answer_is_429_and_a_flood_is_few_events,
    secrets_and_typed_names_are_in_no_row,
);
