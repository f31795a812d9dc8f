//! A day of whoever looks after it: is it quick, is it well, what is configured, why was somebody signed out, and the day of an upgrade.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use carelink_database::{Db, DbOptions, Location, Migration};
use carelink_platform::{clock::Clock, random::Random, secrets::MasterKey};
use carelink_tests::{Carelink, PASSWORD, Said, Start, cli, eventually};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs a command with nobody running beside it.
async fn alone(words: &[&str], stdin: &str) -> Said {
    let mut command = cli::command();
    command.args(words);
    cli::run(command, stdin).await
}

/// A document that is printed whatever the verdict, which depends on how quick this machine is.
#[track_caller]
fn document(said: &Said) -> Value {
    assert!(matches!(said.exit, Some(0 | 1)), "{}{}", said.stdout, said.stderr);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", said.stdout, said.stderr))
}

#[tokio::test]
async fn a_bench_measures_what_the_guide_did_and_leaves_no_session() {
    let ward = Carelink::up().await;
    ward.add_user("probe", PASSWORD, &[]).await;
    let password = ward.scratch().join("probe.password");
    fs::write(&password, PASSWORD).unwrap();
    let (url, password) = (format!("http://{}", ward.address()), password.to_str().unwrap().to_owned());
    let words = ["bench", &url, "--username", "probe", "--password-file", &password, "--rounds", "3"];
    let said = ward.cli(&[&words[..], &["--json"]].concat()).await;
    let told = document(&said);
    let lines: Vec<_> = told["measured"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["what"].as_str().unwrap(), line["goal_ms"].as_u64().unwrap()))
        .collect();
    assert_eq!(lines, [("refresh", 50), ("call with a token", 100), ("sign in", 500), ("verify", 100), ("blacklist", 100)]);
    for line in told["measured"].as_array().unwrap() {
        let ms = |name: &str| line[name].as_f64().unwrap();
        assert!(ms("least_ms") <= ms("average_ms") && ms("average_ms") <= ms("most_ms"), "{line}");
        assert_eq!(line["met"].as_bool().unwrap(), ms("average_ms") < ms("goal_ms"), "{line}");
    }
    assert_eq!((&told["parallel"]["successors"], &told["parallel"]["refused"]), (&json!(1), &json!(0)), "{told}");
    assert_eq!(said.exit == Some(0), told["met"] == true, "{told}");
    let live = ward.json(&["sessions", "list", "probe", "--json"]).await;
    assert_eq!(live["sessions"], json!([]), "every session that it began is over");

    fs::write(&password, "the wrong one").unwrap();
    let refused = ward.cli(&words).await.fails(1);
    assert!(refused.contains("signing in was refused: 401"), "{refused}");
    let table = ward.cli_with(&["bench", &url, "--username", "probe", "--password-stdin", "--rounds", "1"], PASSWORD).await;
    assert!(table.stdout.contains("refresh, 8 at once") && table.stdout.contains("one successor"), "{}{}", table.stdout, table.stderr);
}

#[tokio::test]
async fn a_bench_of_the_demo_needs_nobody() {
    let said = alone(&["bench", "--demo", "--rounds", "2", "--json"], "").await;
    let told = document(&said);
    assert_eq!(told["parallel"]["successors"], 1, "{told}");
}

/// The state and the words of a check.
fn finding<'a>(told: &'a Value, check: &str) -> (&'a str, &'a str, &'a str) {
    let found = told["findings"].as_array().unwrap().iter().find(|finding| finding["check"].as_str().unwrap().starts_with(check));
    let found = found.unwrap_or_else(|| panic!("nothing is said of {check}: {told:#}"));
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    (text("state"), text("says"), text("advice"))
}

#[tokio::test]
async fn a_doctor_says_what_is_well_what_is_not_and_what_to_do() {
    let ward = Carelink::up().await;
    ward.somebody("amina21").await.stays().await;
    ward.delivered().await;
    let told = document(&ward.cli(&["doctor", "--json"]).await);
    for check in [
        "answers",
        "process http://",
        "verifier gateway",
        "database auth",
        "database token",
        "database audit",
        "indexes auth",
        "indexes token",
        "indexes audit",
        "signing key access",
        "signing key refresh",
        "master key",
        "files",
        "configuration",
        "clock",
    ] {
        assert_eq!(finding(&told, check).0, "ok", "{check}: {told:#}");
    }
    for check in ["resolution of localhost", "listener 127.0.0.1", "fsync", "room", "hasher", "stored hashes", "outbox token"] {
        finding(&told, check);
    }
    assert_eq!(finding(&told, "backup").0, "warn");
    ward.cli(&["backup", "--out", ward.scratch().to_str().unwrap()]).await.ok();
    ward.database("token").execute("DROP INDEX session_by_subject", []).unwrap();
    fs::set_permissions(ward.data().join("auth.sqlite3"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = ward.cli(&["doctor", "--json"]).await;
    assert_eq!(said.exit, Some(1));
    let told = document(&said);
    assert_eq!(finding(&told, "backup").0, "ok");
    let (state, says, _) = finding(&told, "indexes token");
    assert!(state == "bad" && says.contains("session_by_subject"), "{says}");
    let (state, _, advice) = finding(&told, "file ");
    assert!(state == "bad" && advice.starts_with("chmod 600 ") && advice.contains("auth.sqlite3"), "{advice}");
    let table = ward.cli(&["doctor"]).await.stdout;
    assert!(table.lines().any(|line| line.starts_with("bad") && line.contains("indexes token")), "{table}");

    ward.terminate().await;
    let told = document(&ward.cli(&["doctor", "--json", "--url", "http://127.0.0.1:9", "--ops", "http://127.0.0.1:9"]).await);
    assert_eq!((finding(&told, "answers").0, finding(&told, "process").0), ("bad", "bad"));
    let nowhere = ward.scratch().join("nothing");
    let said = alone(&["doctor", "--data", nowhere.to_str().unwrap()], "").await.fails(1);
    assert!(said.contains("there is no data directory"), "{said}");
}

#[tokio::test]
async fn the_list_before_going_live_is_a_verdict() {
    let folder = TempDir::new().unwrap();
    let ward = Start::unconfigured().data(&folder.path().join("data")).up().await;
    let said = ward.cli(&["doctor", "--production", "--json"]).await;
    assert_eq!(said.exit, Some(1), "{}", said.stdout);
    let told = document(&said);
    let checks: Vec<_> = told["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["argon2id", "indexes", "redis", "tls", "metrics", "refresh", "call"]);
    for missing in ["tls", "metrics", "refresh", "call"] {
        assert_eq!(finding(&told, missing).0, "bad", "{missing}: {told:#}");
    }
    fs::write(ward.data().join("carelink.toml"), "[gateway]\ntrusted_proxies = \"127.0.0.1\"\n").unwrap();
    let amina = ward.somebody("amina21").await;
    amina.stays().await;
    amina.is_in().await;
    ward.metrics().await;
    let told = document(&ward.cli(&["doctor", "--production", "--json"]).await);
    for there in ["argon2id", "indexes", "redis", "tls", "metrics"] {
        assert_eq!(finding(&told, there).0, "ok", "{there}: {told:#}");
    }
    for measured in ["refresh", "call"] {
        assert!(finding(&told, measured).1.contains("ms on average over 1 request"), "{told:#}");
    }
}

#[tokio::test]
async fn v5_tokens_are_judged_offline_one_verdict_a_line() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let keys = ward.ask(Method::GET, "/.well-known/jwks.json", &[], "").await.expect(200);
    let file = ward.scratch().join("keys.json");
    fs::write(&file, &keys.body).unwrap();
    let (good, file) = (amina.held(), file.to_str().unwrap().to_owned());
    let (signed, _) = good.access.rsplit_once('.').unwrap();
    let (header, rest) = good.access.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", rest.split_once('.').unwrap().0);
    let forged = format!("{signed}.{}", "A".repeat(86));
    let lines = [good.access.as_str(), &good.refresh, &none, &forged, header, ""].join("\n");
    let said = alone(&["token", "verify", "--jwk", &file], &lines).await;
    assert_eq!(said.exit, Some(1), "{}{}", said.stdout, said.stderr);
    let verdicts: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        verdicts.iter().map(|verdict| (verdict["ok"].as_bool().unwrap(), verdict["detail"].as_str().unwrap_or("good"))).collect();
    assert_eq!(told, [(true, "good"), (false, "not_access"), (false, "algorithm_wrong"), (false, "signature_wrong"), (false, "malformed")]);
    assert_eq!((&verdicts[0]["kind"], &verdicts[0]["session"]), (&json!("access"), &json!(good.session())));
    assert!(!said.stdout.contains(&good.access) && !said.stderr.contains(&good.access), "no token is repeated");

    let url = format!("http://{}/.well-known/jwks.json", ward.address());
    alone(&["token", "verify", "--jwks", &url], &good.access).await.ok();
    let other = alone(&["token", "verify", "--jwks", &url, "--audience", "somebody else"], &good.access).await;
    assert!(other.exit == Some(1) && other.stdout.contains("audience_wrong"), "{}", other.stdout);
    alone(&["token", "verify", "--jwk", &file], "").await.fails(2);
    fs::write(&file, r#"{"kty":"oct","k":"c2VjcmV0"}"#).unwrap();
    let symmetric = alone(&["token", "verify", "--jwk", &file], &good.access).await.fails(1);
    assert!(symmetric.contains("symmetric"), "{symmetric}");
}

#[tokio::test]
async fn a_configuration_is_checked_as_a_start_would_read_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("carelink.toml");
    fs::write(&file, "[session]\nlifetime = \"10h\"\n[limits]\nredis_url = \"redis://:canary@cache\"\n").unwrap();
    let file = file.to_str().unwrap();
    let said = alone(&["check-config", "--config", file], "").await.ok();
    assert!(said.stdout.contains("session.lifetime") && said.stdout.contains("10h"), "{}", said.stdout);
    assert!(!said.stdout.contains("canary"), "{}", said.stdout);
    fs::write(file, "[session]\nlifetim = \"10h\"\n").unwrap();
    let wrong = alone(&["check-config", "--config", file], "").await.fails(64);
    assert!(wrong.contains("did you mean `session.lifetime`?"), "{wrong}");
    let missing = alone(&["check-config", "--config", "/nowhere/carelink.toml"], "").await.fails(64);
    assert!(missing.contains("there is no configuration file"), "{missing}");
}

#[tokio::test]
async fn completions_are_scripts_that_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = alone(&["completions", shell], "").await.ok().stdout;
        for command in ["doctor", "bench", "check-config", "why", "token"] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    alone(&["completions", "powershell"], "").await.fails(2);
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("carelink.bash");
    fs::write(&script, alone(&["completions", "bash"], "").await.ok().stdout).unwrap();
    let read = tokio::process::Command::new("bash").arg("-n").arg(&script).output().await.unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

#[tokio::test]
async fn why_somebody_is_out_is_told_with_the_rule_that_decided() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    amina.stays().await;
    ward.cli(&["user", "disable", "amina21", "--reason", "left"]).await.ok();
    amina.is_out_at_once().await;
    ward.delivered().await;
    let session = amina.held().session();
    let told = ward.json(&["why", &session, "--json"]).await;
    let rules: Vec<_> = told["decisions"].as_array().unwrap().iter().map(|decided| decided["rule"].as_str().unwrap()).collect();
    assert_eq!((rules.as_slice(), &told["kind"]), (&["S10", "S3", "U2"][..], &json!("session")), "{told:#}");
    assert!(told["last_word"].as_str().unwrap().contains("the user was disabled (U2)"), "{told:#}");
    let table = ward.cli(&["why", "amina21"]).await.ok().stdout;
    assert!(table.contains("the password was right") && table.contains("the user was disabled"), "{table}");
    let trace = told["decisions"][0]["trace_id"].as_str().unwrap();
    let of_trace = ward.json(&["why", trace, "--json"]).await;
    assert_eq!(of_trace["kind"], "trace");
    assert!(of_trace["decisions"].as_array().unwrap().iter().any(|decided| decided["type"] == "sign_in.succeeded"), "{of_trace:#}");
}

#[tokio::test]
async fn what_is_logged_is_changed_while_it_runs() {
    let ward = Carelink::up().await;
    let told = ward.json(&["log", "level", "debug", "--for", "10m", "--reason", "a slow morning", "--json"]).await;
    assert_eq!(told["processes"][0]["process"], "carelink", "{told}");
    assert!(told["processes"][0]["log"].as_str().unwrap().contains("debug"), "{told}");
    ward.cli(&["log", "level", "--reset", "--reason", "found it"]).await.ok();
    let shown = ward.json(&["log", "show", "--json"]).await;
    assert_eq!(shown["processes"][0]["log"], shown["processes"][0]["configured"], "{shown}");
    eventually("the trail says who did", async || {
        let told = ward.json(&["audit", "list", "--type", "log.changed", "--json"]).await;
        (told["events"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
}

/// Makes a database as an early version did.
async fn early(directory: &Path, schema: &'static str, migrations: &'static [Migration]) {
    let at = Location::File(directory.join(format!("{schema}.sqlite3")));
    drop(Db::open(DbOptions { at, schema, migrations, clock: Clock::system() }).await.unwrap());
}

#[tokio::test]
async fn an_upgrade_leaves_a_backup_of_what_was_before_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    MasterKey::load_or_create(&data.join("master.key"), &Random::system()).unwrap();
    early(&data, "audit", &audit_service::store::MIGRATIONS[..1]).await;
    early(&data, "token", &token_service::store::MIGRATIONS[..1]).await;
    early(&data, "auth", &auth_service::store::MIGRATIONS[..1]).await;
    let ward = Start::default().data(&data).up().await;
    ward.somebody("amina21").await.stays().await;
    let kept = || -> Vec<_> {
        let files = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|ending| ending == "backup")).collect()
    };
    let [backup] = &kept()[..] else { panic!("{:?}", kept()) };
    assert_eq!(fs::metadata(backup).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = alone(&["restore", "--check", backup.to_str().unwrap(), "--json"], "").await.json();
    let token = checked["schemas"].as_array().unwrap().iter().find(|schema| schema["schema"] == "token").unwrap();
    assert_eq!(token["migrations"], json!(["0000_platform", "0001_sessions"]), "as it was: {checked}");
    ward.restart().await;
    assert_eq!(kept().len(), 1, "nothing was to be done the second time");
}
