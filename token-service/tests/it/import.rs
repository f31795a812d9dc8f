//! The predecessor's tokens at their edges (L1, L3, L5).

use carelink_platform::{clock::Timestamp, errors::Reason};
use carelink_proto::token::{
    ImportSessionsRequest, LegacyToken,
    LegacyTokenOutcome::{self, Blacklisted, Ended, Expired, InactiveUser, Kept, Live, Unchanged, UnknownUser},
    RegisterSourceRequest, Subject,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use token_service::Config;

use crate::bench::{Bench, START, bench, bench_with, reason};

const HOUR: i64 = 3_600;

/// A token as the predecessor signed it, and its row there.
struct Old {
    text: String,
    row: LegacyToken,
}

fn old(key: &str, jti: &str, user: u8, expires: i64) -> Old {
    let claims = json!({"token_type": "refresh", "exp": expires, "iat": START - 10, "jti": jti, "user_id": user.to_string()});
    let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key.as_bytes())).unwrap();
    let micros = |secs: i64| secs * 1_000_000;
    let row = LegacyToken {
        jti: jti.into(),
        subject: vec![user; 16],
        created_us: micros(START - 10),
        expires_us: micros(expires),
        blacklisted: false,
    };
    Old { text, row }
}

impl Old {
    fn blacklisted(&self) -> LegacyToken {
        LegacyToken { blacklisted: true, ..self.row.clone() }
    }
}

impl Bench {
    async fn register(&self, source: &str, key: &str) -> Result<i64, Reason> {
        let request = RegisterSourceRequest { source: source.into(), secret_key: key.into(), algorithm: "HS256".into() };
        let answer = self.operator().register_source(request).await.map_err(|status| reason(&status))?;
        Ok(answer.into_inner().accepted_until_us / 1_000_000)
    }

    async fn import(&self, source: &str, tokens: Vec<LegacyToken>) -> Vec<LegacyTokenOutcome> {
        let request = ImportSessionsRequest { source: source.into(), tokens, dry_run: false, ..Default::default() };
        self.operator().import_sessions(request).await.unwrap().into_inner().outcomes().collect()
    }
}

async fn with_source() -> Bench {
    let bench = bench().await;
    bench.apply(Bench::subject(1, 1, &["nurse"])).await;
    bench.register("old", "key").await.unwrap();
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_sources_that_share_a_key_each_keep_their_own_tokens() {
    let bench = with_source().await;
    bench.register("copy", "key").await.unwrap(); // asked before `old`
    bench.register("other", "another key").await.unwrap();
    let (mine, copied, both) = (old("key", "aa", 1, START + HOUR), old("key", "bb", 1, START + HOUR), old("key", "cc", 1, START + HOUR));
    assert_eq!(bench.import("old", vec![mine.row.clone(), both.row.clone()]).await, [Live, Live]);
    assert_eq!(bench.import("copy", vec![copied.row.clone(), both.blacklisted()]).await, [Live, Blacklisted]);
    for token in [&mine, &copied] {
        let ours = bench.refresh(&token.text).await.unwrap();
        assert_eq!(bench.refresh(&token.text).await.unwrap(), ours);
        assert!(bench.introspect(&token.text).await.0);
        assert!(bench.sign_out(&ours.refresh_token).await.is_ok());
    }
    assert_eq!(bench.refresh(&both.text).await, Err(Reason::SessionRevoked), "blacklisted in the first that knows it");
    assert_eq!(bench.refresh(&old("key", "dd", 1, START + HOUR).text).await, Err(Reason::SessionExpired), "in none");
    assert_eq!(bench.refresh(&old("another key", "aa", 1, START + HOUR).text).await, Err(Reason::SessionExpired), "not that source's");
    assert_eq!(bench.refresh(&old("no key of theirs", "aa", 1, START + HOUR).text).await, Err(Reason::TokenInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_token_is_judged_at_its_import_as_what_it_is() {
    let bench = with_source().await;
    bench.apply(Subject { active: false, end_reason: "disabled".into(), ..Bench::subject(2, 1, &[]) }).await;
    let token = |jti, user, expires| old("key", jti, user, expires);
    let all = [
        token("live", 1, START + HOUR),
        token("black", 1, START + HOUR),
        token("over", 1, START),
        token("inactive", 2, START + HOUR),
        token("inactive-black", 2, START + HOUR),
        token("unknown", 3, START + HOUR),
    ];
    let mut rows: Vec<LegacyToken> = all.iter().map(|old| old.row.clone()).collect();
    (rows[1].blacklisted, rows[4].blacklisted) = (true, true);
    rows.push(LegacyToken { subject: Vec::new(), ..token("nobody", 1, START + HOUR).row });
    let outcomes = [Live, Blacklisted, Expired, InactiveUser, Blacklisted, UnknownUser, UnknownUser];
    assert_eq!(bench.import("old", rows.clone()).await, outcomes);
    let again = [Unchanged, Unchanged, Expired, Unchanged, Unchanged, UnknownUser, UnknownUser];
    assert_eq!(bench.import("old", rows).await, again, "twice changes nothing");
    let answers = [
        None,
        Some(Reason::SessionRevoked),
        Some(Reason::TokenExpired),
        Some(Reason::UserInactive),
        Some(Reason::SessionRevoked),
        Some(Reason::SessionExpired),
    ];
    for (old, answer) in all.iter().zip(answers) {
        assert_eq!(bench.refresh(&old.text).await.err(), answer, "{}", old.row.jti);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_past_what_its_source_is_accepted_for_a_token_is_over_and_that_day_is_fixed() {
    let mut config = Config::default();
    config.legacy.until = Some(Timestamp::from_secs(START + HOUR).to_string());
    let mut bench = bench_with(config).await;
    bench.apply(Bench::subject(1, 1, &[])).await;
    assert_eq!(bench.register("old", "key").await, Ok(START + HOUR));
    let token = old("key", "aa", 1, START + 2 * HOUR);
    assert_eq!(bench.import("old", vec![token.row.clone()]).await, [Live]);
    let ours = bench.refresh(&token.text).await.unwrap();
    assert_eq!(ours.session_ends, START + HOUR);
    bench.reconfigure(|config| config.legacy.until = None).await;
    assert_eq!(bench.register("old", "key").await, Ok(START + HOUR), "fixed at the first");
    bench.hand.set(Timestamp::from_secs(START + HOUR));
    assert_eq!(bench.refresh(&ours.refresh_token).await, Err(Reason::SessionExpired));
    assert_eq!(bench.import("old", vec![old("key", "bb", 1, START + 2 * HOUR).row]).await, [Expired]);
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_blacklisted_in_the_source_later_ends_what_has_not_moved_on_here() {
    let bench = with_source().await;
    let (still, moved) = (old("key", "aa", 1, START + HOUR), old("key", "bb", 1, START + HOUR));
    bench.import("old", vec![still.row.clone(), moved.row.clone()]).await;
    let ours = bench.refresh(&moved.text).await.unwrap();
    assert_eq!(bench.import("old", vec![still.blacklisted(), moved.blacklisted()]).await, [Ended, Kept]);
    assert_eq!(bench.refresh(&still.text).await, Err(Reason::SessionRevoked));
    bench.refresh(&ours.refresh_token).await.unwrap();
    assert_eq!(bench.import("old", vec![still.blacklisted(), moved.blacklisted()]).await, [Unchanged, Kept]);
    let ended = bench.events("session.ended").await;
    assert_eq!((ended.len(), ended[0].reason.as_str(), ended[0].actor.as_ref().unwrap().id.as_str()), (1, "blacklisted", "uid:0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn l5_blacklisted_past_its_end_is_not_revived_by_a_step_back() {
    let bench = with_source().await;
    let token = old("key", "aa", 1, START + HOUR);
    bench.import("old", vec![token.row.clone()]).await;
    bench.hand.set(Timestamp::from_secs(START + HOUR + 1));
    assert_eq!(bench.import("old", vec![token.blacklisted()]).await, [Ended]);
    bench.hand.set(Timestamp::from_secs(START));
    assert_eq!(bench.refresh(&token.text).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_user_disabled_or_demoted_after_the_import_is_so_for_imported_sessions_too() {
    let bench = with_source().await;
    bench.apply(Bench::subject(2, 1, &["admin", "nurse"])).await;
    let (first, second) = (old("key", "aa", 1, START + HOUR), old("key", "bb", 2, START + HOUR));
    bench.import("old", vec![first.row.clone(), second.row.clone()]).await;
    let disabled = Subject { active: false, min_version: 2, end_reason: "disabled".into(), ..Bench::subject(1, 2, &[]) };
    assert!(bench.apply(disabled).await > 0);
    assert_eq!(bench.refresh(&first.text).await, Err(Reason::UserInactive));
    bench.apply(Bench::subject(2, 2, &["nurse"])).await;
    let ours = bench.refresh(&second.text).await.unwrap();
    assert!(bench.introspect(&ours.access_token).await.0);
    let changed = Subject { min_version: 3, end_reason: "password_changed".into(), ..Bench::subject(2, 3, &["nurse"]) };
    bench.apply(changed).await;
    assert_eq!(bench.refresh(&ours.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_registering_again_is_no_new_key_and_another_key_replaces_the_one_held() {
    let bench = with_source().await;
    let legacy = || async {
        let events = bench.events("key.created").await;
        events
            .into_iter()
            .filter(|event| event.details["use"] == "legacy")
            .map(|event| event.details["replaced"].clone())
            .collect::<Vec<_>>()
    };
    bench.register("old", "key").await.unwrap();
    bench.register("old", "").await.unwrap();
    assert_eq!(legacy().await, ["false"]);
    let token = old("key", "aa", 1, START + HOUR);
    bench.import("old", vec![token.row.clone()]).await;
    bench.register("old", "new key").await.unwrap();
    assert_eq!(legacy().await, ["false", "true"]);
    assert_eq!(bench.refresh(&token.text).await, Err(Reason::TokenInvalid));
    bench.refresh(&old("new key", "aa", 1, START + HOUR).text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_key_or_jti_is_refused() {
    let bench = bench().await;
    for name in ["", "a b", "a\nb", "ä", &"x".repeat(65)] {
        assert_eq!(bench.register(name, "key").await, Err(Reason::InputInvalid), "{name}");
    }
    assert_eq!(bench.register("old", &"k".repeat(4_097)).await, Err(Reason::InputInvalid));
    bench.register("old", "key").await.unwrap();
    let import = |source: &str, tokens: Vec<LegacyToken>| {
        let (mut operator, source) = (bench.operator(), source.to_owned());
        async move {
            let request = ImportSessionsRequest { source, tokens, dry_run: false, ..Default::default() };
            operator.import_sessions(request).await.map_err(|status| reason(&status)).err()
        }
    };
    let row = old("key", "aa", 1, START + HOUR).row;
    assert_eq!(import("unknown", vec![row.clone()]).await, Some(Reason::SourceNotFound));
    assert_eq!(import("old", vec![LegacyToken { jti: "j".repeat(256), ..row.clone() }]).await, Some(Reason::InputInvalid));
    assert_eq!(import("old", vec![LegacyToken { subject: vec![1; 3], ..row.clone() }]).await, Some(Reason::InputInvalid));
    assert_eq!(import("old", vec![row.clone(); 1_001]).await, Some(Reason::InputInvalid));
    let extreme = LegacyToken { created_us: i64::MAX, expires_us: i64::MAX, ..row };
    bench.apply(Bench::subject(1, 1, &[])).await;
    assert_eq!(import("old", vec![extreme.clone(), LegacyToken { jti: String::new(), created_us: i64::MIN, ..extreme }]).await, None);
    assert!(bench.refresh(&old("key", "aa", 1, START + HOUR).text).await.unwrap().session_ends <= START + 30 * 24 * HOUR);
}
