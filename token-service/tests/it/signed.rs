//! A predecessor's tokens that are in none of its tables (L3, `legacy.accept = signed`).

use std::sync::Arc;

use carelink_database::{Statement, args};
use carelink_platform::{clock::Timestamp, errors::Reason};
use carelink_proto::token::{
    ImportSessionsRequest, LegacyHolder, LegacyToken, RegisterSourceRequest, RevokeSessionsRequest, revoke_sessions_request::Target,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use token_service::{Accept, Config};
use uuid::Uuid;

use crate::bench::{Bench, START, bench_with, claims, reason, types};

const HOUR: i64 = 3_600;

/// As `legacy.accept = signed` has it, for ten hours.
async fn signed() -> Bench {
    let mut config = Config::default();
    config.legacy.accept = Accept::Signed;
    config.legacy.until = Some(Timestamp::from_secs(START + 10 * HOUR).to_string());
    with(config).await
}

/// Two sources, each with a user 1: who that is here, only the import knows.
async fn with(config: Config) -> Bench {
    let bench = bench_with(config).await;
    bench.apply(Bench::subject(1, 1, &["nurse"])).await;
    bench.apply(Bench::subject(2, 1, &["doctor"])).await;
    for (source, key, subject) in [("east", "east's key", 1), ("west", "west's key", 2)] {
        import(&bench, source, key, vec![(1, subject)], vec![]).await;
    }
    bench
}

async fn import(bench: &Bench, source: &str, key: &str, holders: Vec<(i64, u8)>, tokens: Vec<LegacyToken>) {
    let mut operator = bench.operator();
    let register = RegisterSourceRequest { source: source.into(), secret_key: key.into(), algorithm: "HS256".into() };
    operator.register_source(register).await.unwrap();
    let holders = holders.into_iter().map(|(legacy_id, subject)| LegacyHolder { legacy_id, subject: vec![subject; 16] }).collect();
    let request = ImportSessionsRequest { source: source.into(), holders, ..Default::default() };
    operator.import_sessions(request).await.unwrap();
    let request = ImportSessionsRequest { source: source.into(), tokens, ..Default::default() };
    operator.import_sessions(request).await.unwrap();
}

fn made(key: &str, jti: &str, more: &[(&str, Value)]) -> String {
    let mut said = json!({"token_type": "refresh", "exp": START + 5 * HOUR, "iat": START - 10, "jti": jti, "user_id": 1});
    for (claim, value) in more {
        said[*claim] = value.clone();
    }
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &said, &EncodingKey::from_secret(key.as_bytes())).unwrap()
}

fn session(source: &str, jti: &str) -> Uuid {
    token_service::domain::legacy::session_id(source, jti)
}

async fn sessions(bench: &Bench) -> usize {
    static ALL: Statement = Statement::shared("t_all", "SELECT id FROM session");
    bench.query(&ALL, args![]).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_signed_token_in_no_table_becomes_its_session_at_first_sight() {
    let bench = signed().await;
    let token = made("east's key", "aa", &[]);
    let ours = bench.refresh(&token).await.unwrap();
    assert_eq!(bench.refresh(&token).await.unwrap(), ours, "the same successor again");
    assert_eq!(ours.session_ends, START + 5 * HOUR);
    let said = claims(&ours.access_token);
    assert_eq!((&said["user_id"], &said["roles"], &said["auth_time"]), (&json!("1"), &json!(["nurse"]), &json!(START - 10)));
    let events = bench.events_of(session("east", "aa")).await;
    assert_eq!(types(&events), ["session.started", "session.refreshed", "session.replayed"]);
    // The same id is somebody else in the other source.
    let other = bench.refresh(&made("west's key", "aa", &[])).await.unwrap();
    assert_eq!(claims(&other.access_token)["roles"], json!(["doctor"]));
    assert_eq!(
        bench.refresh(&made("west's key", "bb", &[("exp", json!(START + 100 * HOUR))])).await.unwrap().session_ends,
        START + 10 * HOUR
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_signed_token_is_no_session_unless_all_that_is_asked_of_it_holds() {
    let bench = signed().await;
    let row = |jti: &str| LegacyToken {
        jti: jti.into(),
        subject: vec![1; 16],
        created_us: 0,
        expires_us: (START + 5 * HOUR) * 1_000_000,
        blacklisted: true,
    };
    import(&bench, "east", "east's key", vec![], vec![row("black")]).await;
    assert_eq!(bench.refresh(&made("east's key", "black", &[])).await, Err(Reason::SessionRevoked));
    for (token, expected) in [
        (made("east's key", "a", &[("iat", json!(START + 1))]), Reason::TokenInvalid),
        (made("east's key", "b", &[("user_id", json!(2))]), Reason::SessionExpired),
        (made("east's key", "c", &[("exp", json!(START))]), Reason::TokenExpired),
        (made("east's key", "d", &[("token_type", json!("access"))]), Reason::TokenTypeWrong),
        (made("nobody's key", "e", &[]), Reason::TokenInvalid),
    ] {
        assert_eq!(bench.refresh(&token).await, Err(expected));
    }
    bench.hand.set(Timestamp::from_secs(START + HOUR));
    let later = made("east's key", "f", &[("iat", json!(START + HOUR / 2))]);
    assert_eq!(bench.refresh(&later).await, Err(Reason::SessionExpired), "made after the last import");
    import(&bench, "east", "east's key", vec![(1, 1)], vec![]).await;
    bench.refresh(&later).await.expect("the source was imported since");
    bench.hand.set(Timestamp::from_secs(START + 10 * HOUR));
    let late = made("east's key", "g", &[("exp", json!(START + 20 * HOUR))]);
    assert_eq!(bench.refresh(&late).await, Err(Reason::SessionExpired), "past legacy.until");
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_outstanding_believes_no_token_that_is_in_no_table() {
    let bench = with(Config::default()).await;
    assert_eq!(bench.refresh(&made("east's key", "aa", &[])).await, Err(Reason::SessionExpired));
    assert_eq!(sessions(&bench).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_first_sight_of_eight_at_once_is_one_session() {
    let bench = Arc::new(signed().await);
    for round in 0..20 {
        let token = made("east's key", &format!("jti{round}"), &[]);
        let racers = (0..8).map(|_| {
            let (bench, token) = (Arc::clone(&bench), token.clone());
            tokio::spawn(async move { bench.refresh(&token).await })
        });
        let mut successors = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            successors.push(racer.await.unwrap().unwrap());
        }
        assert!(successors.iter().all(|pair| pair == &successors[0]), "one successor");
        let events = bench.events_of(session("east", &format!("jti{round}"))).await;
        assert_eq!(types(&events)[..2], ["session.started", "session.refreshed"]);
        assert!(events[2..].iter().all(|event| event.r#type == "session.replayed"));
        assert_eq!(sessions(&bench).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_signed_token_is_seen_by_whoever_asks_first() {
    let bench = signed().await;
    let (asked, signed_out) = (made("east's key", "aa", &[]), made("east's key", "bb", &[]));
    assert!(bench.introspect(&asked).await.0);
    bench.sign_out(&signed_out).await.unwrap();
    assert_eq!(bench.refresh(&signed_out).await, Err(Reason::SessionRevoked));
    bench.refresh(&asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_what_ended_all_sessions_of_a_user_ends_tokens_not_yet_seen() {
    let refused = async |bench: &Bench| bench.refresh(&made("east's key", "zz", &[])).await.unwrap_err();
    let bench = signed().await;
    let mut subject = Bench::subject(1, 2, &["nurse"]);
    (subject.active, subject.min_version, subject.end_reason) = (false, 2, "disabled".into());
    bench.apply(subject.clone()).await;
    assert_eq!(refused(&bench).await, Reason::SessionExpired, "disabled");
    (subject.active, subject.version) = (true, 3);
    bench.apply(subject).await;
    assert_eq!(refused(&bench).await, Reason::SessionExpired, "and admitted again");
    import(&bench, "east", "east's key", vec![(1, 1)], vec![]).await;
    assert_eq!(refused(&bench).await, Reason::SessionExpired, "and imported again");

    let bench = signed().await;
    let revoke = RevokeSessionsRequest { target: Some(Target::Subject(vec![1; 16])), reason: "a lost badge".into() };
    bench.operator().revoke_sessions(revoke).await.map_err(|status| reason(&status)).unwrap();
    assert_eq!(refused(&bench).await, Reason::SessionExpired, "all sessions ended");

    let bench = signed().await;
    bench.apply(Bench::subject(1, 2, &["doctor"])).await;
    let ours = bench.refresh(&made("east's key", "zz", &[])).await.unwrap();
    assert_eq!(claims(&ours.access_token)["roles"], json!(["doctor"]), "other roles end nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_after_a_restore_no_signed_token_is_believed_that_was_not_imported() {
    static RESTORED: Statement = Statement::shared("t_restored", "UPDATE revocation_head SET incarnation = $1");
    let mut bench = signed().await;
    let db = bench.app.store().db.clone();
    let run =
        db.transaction("restore", |tx| Box::pin(async move { tx.run(&RESTORED, args![Uuid::from_bytes([7; 16])]).await.map(|_| ()) }));
    run.await.unwrap();
    bench.restart().await;
    assert_eq!(bench.refresh(&made("east's key", "aa", &[])).await, Err(Reason::SessionExpired));
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_tokens_that_simplejwt_itself_rotated_go_on() {
    for version in ["5.4", "5.5"] {
        let file = |ending: &str| {
            let path = format!("{}/../tests/fixtures/simplejwt/rotated-{version}.{ending}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let (key, tokens) = (file("secret_key"), serde_json::from_str::<Value>(&file("tokens.json")).unwrap());
        let bench = signed().await;
        for subject in 3..=8 {
            bench.apply(Bench::subject(subject, 1, &[])).await;
        }
        let gone = tokens["tokens"].as_array().unwrap().iter().filter(|token| token["state"] == "gone");
        let gone = gone.map(|token| {
            let said = claims(token["refresh"].as_str().unwrap());
            let (jti, expires_us) = (said["jti"].as_str().unwrap().to_owned(), said["exp"].as_i64().unwrap() * 1_000_000);
            let subject = vec![u8::try_from(token["user_id"].as_i64().unwrap()).unwrap(); 16];
            LegacyToken { jti, subject, created_us: 0, expires_us, blacklisted: true }
        });
        let gone = gone.collect();
        import(&bench, "real", key.trim_end(), (1..=8).map(|id| (id.into(), id)).collect(), gone).await;
        for token in tokens["tokens"].as_array().unwrap() {
            let answer = bench.refresh(token["refresh"].as_str().unwrap()).await;
            match token["state"].as_str().unwrap() {
                "gone" => assert_eq!(answer, Err(Reason::SessionRevoked)),
                _ => assert_eq!(claims(&answer.unwrap().access_token)["user_id"], json!(token["user_id"].to_string())),
            }
        }
    }
}
