//! What arrives at the services, and what the report says of it.

use carelink_platform::clock::{Clock, Timestamp};
use importer::{Names, Note, Options, Report, TokenTally, UserTally, run};
use serde_json::Value;
use tonic::Status;

use crate::{
    fixtures::{Made, SCHEMA, fixture, options, secret_key},
    recorder::{Recorder, subject},
};

/// The day after the fixtures were written.
fn clock() -> Clock {
    Clock::manual(Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()).0
}

async fn import(recorder: &Recorder, made: &Made, options: Options) -> Report {
    run(made.source().await, options, recorder.services(), &clock(), |_| {}).await.unwrap()
}

fn tokens_of(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture(&format!("{name}.tokens.json"))).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["tokens"].as_array().unwrap().clone()
}

fn in_state(tokens: &[Value], state: &str) -> u64 {
    tokens.iter().filter(|token| token["state"] == state).count().try_into().unwrap()
}

#[tokio::test]
async fn l1_every_user_of_djangos_own_table_arrives_whole() {
    let recorder = Recorder::default();
    let report = import(&recorder, &Made::copy("auth-user"), options("auth-user")).await;
    let record = recorder.record();
    assert_eq!(record.users.len(), 240);
    let first = &record.users[&1];
    assert_eq!((first.username.as_str(), first.email.as_str(), first.full_name.as_str()), ("haruto0", "", "Haruto Müller"));
    assert!(first.password_hash.starts_with("argon2$argon2id$v=19$m=102400,t=2,p=8$"));
    assert!(first.active && first.staff && first.superuser);
    assert_eq!((first.last_login_us, first.joined_us), (1_747_394_498_000_000, 1_552_891_014_000_000));
    let csv = std::fs::read_to_string(fixture("auth-user.users.csv")).unwrap();
    for (line, user) in csv.lines().skip(1).zip(record.users.values()) {
        assert_eq!(line.split(',').next().unwrap(), user.username);
        assert!(line.ends_with(&format!(",{},{}", u8::from(user.active), u8::from(user.staff))));
    }
    assert!(record.users.values().any(|user| user.roles.len() == 2));
    let admins: u64 = record.users.values().filter(|user| user.roles.contains(&"admin".into())).count().try_into().unwrap();
    assert_eq!(report.dropped_roles["admin"], admins);
    let inactive: u64 = record.users.values().filter(|user| !user.active).count().try_into().unwrap();
    assert_eq!(report.inactive_users, inactive);
    let imported = |hasher: &str| report.users[hasher].imported;
    assert_eq!(["argon2", "pbkdf2_sha256", "pbkdf2_sha1"].map(imported), [113, 78, 9]);
    assert_eq!(["bcrypt_sha256", "scrypt", "md5", "unusable"].map(imported), [13, 13, 5, 9]);
    assert_eq!(report.users["md5"].cannot_sign_in["md5_not_allowed"], 5);
}

#[tokio::test]
async fn l1_a_custom_table_is_found_and_its_role_column_read() {
    let recorder = Recorder::default();
    let report = import(&recorder, &Made::copy("account-user"), options("account-user")).await;
    assert_eq!((report.layout.table.as_str(), report.layout.username.as_str()), ("account_user", "email"));
    assert_eq!(report.layout.names, Names::Full("full_name".into()));
    let first = recorder.record().users[&1].clone();
    assert_eq!((first.username.as_str(), first.full_name.as_str()), ("fatou.singh.0@carelink.example", "Fatou Singh"));
    assert_eq!((first.email, first.roles), (first.username, vec!["doctor".into()]));
}

#[tokio::test]
async fn l3_every_token_arrives_after_the_key_with_its_holder_and_state() {
    for name in ["auth-user", "account-user"] {
        let recorder = Recorder::default();
        import(&recorder, &Made::copy(name), options(name)).await;
        let record = recorder.record();
        assert_eq!(record.calls, ["import_users", "register_source", "import_holders", "import_sessions"]);
        assert_eq!((record.holders.len(), record.holders[&7].clone()), (240, subject(name, 7)));
        assert_eq!((record.sources[0].source.as_str(), record.sources[0].secret_key.as_str()), (name, secret_key(name).as_str()));
        assert_eq!(record.tokens.len(), 60);
        for token in tokens_of(name) {
            let sent = &record.tokens[token["jti"].as_str().unwrap()];
            assert_eq!(sent.subject, subject(name, token["user_id"].as_i64().unwrap()));
            assert_eq!(sent.blacklisted, token["state"] == "blacklisted");
            assert_eq!(sent.expires_us < clock().now().as_micros(), token["state"] == "expired");
            assert_eq!(sent.created_us, 1_749_880_800_000_000);
        }
    }
}

#[tokio::test]
async fn l3_a_dry_run_foresees_the_same_and_registers_no_key() {
    for name in ["auth-user", "account-user"] {
        let recorder = Recorder::default();
        let report = import(&recorder, &Made::copy(name), Options { dry_run: true, ..options(name) }).await;
        let expected = tokens_of(name);
        let tally = TokenTally {
            live: in_state(&expected, "live"),
            blacklisted: in_state(&expected, "blacklisted"),
            expired: in_state(&expected, "expired"),
            inactive_user: in_state(&expected, "inactive-user"),
            ..TokenTally::default()
        };
        assert_eq!(report.tokens, tally);
        let record = recorder.record();
        assert!(report.dry_run && record.dry && record.users.is_empty());
        assert_eq!(record.calls, ["import_users"]);
    }
}

#[tokio::test]
async fn l5_a_dry_run_of_users_imported_without_a_key_needs_no_registered_source() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    import(&recorder, &made, Options { secret_key: None, ..options("auth-user") }).await;
    let report = import(&recorder, &made, Options { dry_run: true, ..options("auth-user") }).await;
    assert_eq!((report.tokens.live, report.tokens.total()), (38, 60));
    assert!(recorder.record().sources.is_empty());
}

#[tokio::test]
async fn l5_a_second_run_says_unchanged_and_only_that() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    assert!(!import(&recorder, &made, options("auth-user")).await.changed_nothing());
    let report = import(&recorder, &made, options("auth-user")).await;
    assert!(report.changed_nothing());
    assert_eq!(report.users.values().map(|tally| tally.unchanged).sum::<u64>(), 240);
    assert_eq!(report.tokens, TokenTally { unchanged: 60, ..TokenTally::default() });
}

#[tokio::test]
async fn l5_what_changed_in_the_source_is_counted_apart() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    import(&recorder, &made, options("auth-user")).await;
    made.execute(
        "UPDATE auth_user SET is_active = 0 WHERE id = 3;
         INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) VALUES ('2026-11-23 00:00:00.5', 1);",
    );
    let report = import(&recorder, &made, options("auth-user")).await;
    assert_eq!((report.users["pbkdf2_sha256"].updated, report.tokens.ended, report.tokens.unchanged), (1, 1, 59));
}

#[tokio::test]
async fn l1_without_a_key_users_come_and_tokens_are_left_out() {
    let recorder = Recorder::default();
    let report = import(&recorder, &Made::copy("auth-user"), Options { secret_key: None, ..options("auth-user") }).await;
    assert_eq!((report.tokens.left_out, report.notes.as_slice()), (60, [Note::NoKey].as_slice()));
    assert_eq!(recorder.record().calls, ["import_users"]);
}

#[tokio::test]
async fn l1_a_refused_users_tokens_go_without_a_holder() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    made.execute("UPDATE auth_user SET username = 'taken' WHERE id = 1; UPDATE auth_user SET is_active = 'maybe' WHERE id = 5");
    let report = import(&recorder, &made, options("auth-user")).await;
    assert_eq!((report.tokens.unknown_user, report.refused.total()), (2, 2));
    let names: Vec<_> = report.refused.first.iter().map(|user| (user.legacy_id, user.reason.as_str())).collect();
    assert_eq!(names, [(Some(5), "flag_malformed"), (Some(1), "name_taken")]);
    assert_eq!(report.users["argon2"].refused["name_taken"], 1);
}

#[tokio::test]
async fn l2_superusers_become_admins_only_when_asked_and_are_listed() {
    let recorder = Recorder::default();
    let report = import(&recorder, &Made::copy("auth-user"), Options { superusers_as_admins: true, ..options("auth-user") }).await;
    assert_eq!((report.admins.first, recorder.record().superusers_as_admins), (vec!["haruto0".to_owned()], true));
}

#[tokio::test]
async fn an_import_waits_for_a_service_that_cannot_answer_just_now() {
    let recorder = Recorder::default();
    recorder.record().trouble = vec![Some(Status::unavailable("starting")), Some(Status::resource_exhausted("busy"))];
    let report = import(&recorder, &Made::copy("auth-user"), options("auth-user")).await;
    assert_eq!(report.users.values().map(UserTally::total).sum::<u64>(), 240);
}

#[tokio::test]
async fn l5_an_interrupted_import_goes_on_where_it_stopped() {
    let (recorder, made) = (Recorder::default(), Made::with(SCHEMA));
    made.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO auth_user (id, username, password) SELECT i, 'user' || i, '!' FROM n;",
    );
    recorder.record().trouble = vec![None, Some(Status::internal("power cut"))];
    let failed = run(made.source().await, options("s"), recorder.services(), &clock(), |_| {}).await.unwrap_err();
    assert_eq!(failed.to_string(), "the import stopped after 500 users: power cut; run the same command again, it goes on from there");
    let report = import(&recorder, &made, options("s")).await;
    assert_eq!(report.users["unusable"], UserTally { imported: 700, unchanged: 500, ..UserTally::default() });
}

#[tokio::test]
async fn l1_a_name_that_is_none_is_refused_before_anything_is_read() {
    for name in ["", "a b", "a@b", "über", &"n".repeat(65)] {
        let recorder = Recorder::default();
        let failed = run(Made::copy("auth-user").source().await, options(name), recorder.services(), &clock(), |_| {}).await.unwrap_err();
        assert!(failed.to_string().ends_with("with --source"), "{failed}");
        assert!(recorder.record().calls.is_empty());
    }
}

#[tokio::test]
async fn l3_a_source_too_old_to_record_rotations_is_noted() {
    let old = "
        CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255), name varchar(255), applied datetime);
        INSERT INTO django_migrations (app, name) VALUES ('token_blacklist', '0012_alter_outstandingtoken_user');
        INSERT INTO auth_user (id, username, password) VALUES (1, 'amina', '!');
        INSERT INTO token_blacklist_outstandingtoken (id, jti, token, user_id, created_at, expires_at) VALUES
            (1, 'a', '', 1, '2026-11-23 06:00:00', '2040-01-01 00:00:00'), (2, 'b', '', 1, '2026-11-23 09:00:00', '2040-01-01 00:00:00');
        INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) VALUES ('2026-11-23 06:15:00', 1);";
    let noted = async |more: &str| {
        let made = Made::with(&[SCHEMA, old, more].concat());
        import(&Recorder::default(), &made, options("s")).await.notes
    };
    assert_eq!(noted("").await, [Note::UnrecordedRotations { blacklisted: 1 }]);
    let successor = "INSERT INTO token_blacklist_outstandingtoken (jti, token, user_id, created_at, expires_at)
        VALUES ('c', '', 1, '2026-11-23 06:15:00.01', '2040-01-01 00:00:00');";
    assert_eq!(noted(successor).await, []);
    let newer = "INSERT INTO django_migrations (app, name) VALUES ('token_blacklist', '0013_alter_blacklistedtoken_options_and_more');";
    assert_eq!(noted(newer).await, []);
    assert_eq!(noted("DELETE FROM token_blacklist_blacklistedtoken;").await, []);
}

#[tokio::test]
async fn l3_a_key_that_signed_none_of_the_tokens_imports_nothing() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    let told = async |options| run(made.source().await, options, recorder.services(), &clock(), |_| {}).await.unwrap_err().to_string();
    let another = Options { secret_key: Some(secret_key("account-user").into()), ..options("auth-user") };
    assert!(told(another).await.starts_with("this key signed none of the newest 60 outstanding refresh tokens; give the SECRET_KEY"));
    let otherwise = Options { algorithm: "HS512".into(), ..options("auth-user") };
    assert!(told(otherwise).await.contains("(they say HS256: try --algorithm HS256)"));
    assert_eq!(recorder.record().calls, Vec::<String>::new());
}

#[tokio::test]
async fn l3_tokens_of_an_earlier_key_are_counted_aside() {
    let (recorder, made) = (Recorder::default(), Made::copy("auth-user"));
    made.execute(
        "UPDATE token_blacklist_outstandingtoken SET token = substr(token, 1, length(token) - 5) || 'AAAAA' WHERE id IN
         (SELECT id FROM token_blacklist_outstandingtoken ORDER BY id LIMIT 3)",
    );
    let report = run(made.source().await, options("auth-user"), recorder.services(), &clock(), |_| {}).await.unwrap();
    assert_eq!(report.notes, [Note::OtherKeys { others: 3 }]);
}
