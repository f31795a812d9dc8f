//! Starting, not starting, stopping: what `carelink up` says about its directory, its ports, its settings and its first administrator.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
    time::Duration,
};

use carelink_tests::{Carelink, Http, PASSWORD, Person, Start, eventually, predecessor::AUTH_USER};
use futures::future::{join, join_all};
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

/// A file system of its own, for as long as it is held; only root may make one.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                println!("SKIPPED: no tmpfs ({options}) can be mounted here; root can");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status(); // the machine's to clean up else
    }
}

#[tokio::test]
async fn a_start_takes_no_time_and_makes_everything_private() {
    let began = Instant::now();
    let ward = Start::unconfigured().up().await;
    println!("ready {:?} after the process was started, {} MiB resident", began.elapsed(), ward.memory("VmRSS"));
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{}/account/me/", ward.address().port());
        match Http::default().ask(Method::GET, &url, &[], "").await {
            Ok(answer) => assert_eq!(answer.status, 401),
            Err(error) => assert!(host == "[::1]" && ward.log().contains("no [::1]"), "{host}: {error}"),
        }
    }
    assert_eq!(fs::metadata(ward.data()).unwrap().mode() & 0o077, 0);
    for (path, _) in ward.files() {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{} may be read by others", path.display());
    }
    ward.terminate().await;
    let log = ward.log();
    assert!(!log.contains("\"ERROR\""), "{log}");
}

#[tokio::test]
async fn g3_the_socket_lets_nobody_else_in_and_without_it_commands_say_how_to_start() {
    let ward = Carelink::up().await;
    let socket = fs::metadata(ward.data().join("control.sock")).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o600);
    ward.terminate().await;
    let said = ward.cli(&["user", "list"]).await.fails(1);
    assert!(said.contains("carelink up"), "{said}");
}

#[tokio::test]
async fn a_second_up_on_the_same_directory_is_a_sentence() {
    let ward = Carelink::up().await;
    let said = Start::default().data(ward.data()).refused().await.fails(1);
    assert!(said.contains("another `carelink up` runs on") && said.contains("--data"), "{said}");
    ward.somebody("amina21").await.is_in().await;
}

#[tokio::test]
async fn a_taken_port_names_the_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = Start::default().only_args(&["--port", &port, "--ops-port", "0"]).refused().await.fails(1);
    assert!(said.contains("--port"), "{said}");
    let said = Start::default().only_args(&["--port", "0", "--ops-port", &port]).refused().await.fails(1);
    assert!(said.contains("--ops-port"), "{said}");
}

#[tokio::test]
async fn a_directory_of_a_newer_version_is_left_alone() {
    let ward = Carelink::up().await;
    ward.terminate().await;
    ward.database("token").execute("INSERT INTO migration VALUES ('9999_from_the_future', '', 0)", []).unwrap();
    let said = Start::default().data(ward.data()).refused().await.fails(1);
    assert!(said.contains("newer") && said.contains("9999_from_the_future"), "{said}");
}

#[tokio::test]
async fn k3_a_master_key_that_others_may_read_is_refused() {
    let ward = Carelink::up().await;
    ward.terminate().await;
    fs::set_permissions(ward.data().join("master.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = Start::default().data(ward.data()).refused().await.fails(1);
    assert!(said.contains("chmod 600"), "{said}");
}

#[tokio::test]
async fn an_unusable_setting_is_named_with_what_would_be_right() {
    for (key, value, words) in [
        ("session.lifetim", "2h", "did you mean `session.lifetime`?"),
        ("sesion.lifetime", "2h", "did you mean `session`?"),
        ("session.lifetime", "12", "write a number with a unit"),
        ("session.grace", "3s", "session.grace"),
        ("password.argon2.memory_kib", "1", "password.argon2"),
        ("DATABASE_URL", "postgres://django:canary@db/app", "carelink import django"),
    ] {
        let said = Start::default().set(key, value).refused().await.fails(64);
        assert!(said.contains(words) && !said.contains("canary"), "{key}={value}: {said}");
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("carelink.toml"), "[gateway]\nacount_prefix = \"/api\"\n").unwrap();
    let said = Start::default().data(folder.path()).refused().await.fails(64);
    assert!(said.contains("did you mean `gateway.account_prefix`?"), "{said}");
    let said = Start::default().only_args(&["--listen", "0.0.0.0:0", "--ops-port", "0"]).refused().await.fails(64);
    assert!(said.contains("gateway.trusted_proxies"), "{said}");
}

#[tokio::test]
async fn a_read_only_directory_is_a_sentence() {
    let Some(disk) = Tmpfs::mount("size=1m,ro") else { return };
    let said = Start::default().data(&disk.0.path().join("data")).refused().await.fails(1);
    assert!(said.contains("cannot be written") && said.contains("--data"), "{said}");
}

#[tokio::test]
async fn r2_a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let Some(disk) = Tmpfs::mount("size=8m") else { return };
    let ward = Start::default().unlimited().data(&disk.0.path().join("data")).up().await;
    let amina = ward.somebody("amina21").await;
    let filler = disk.0.path().join("filler");
    let full = fs::write(&filler, vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // There may be room left in what is already taken: until there is none, every answer that is good must hold.
    let refused = eventually("there is no room", async || amina.refresh().await.err()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("x-trace-id").is_empty() && !refused.header("retry-after").is_empty());
    assert_eq!(refused.json()["code"], "storage_full", "{}", refused.text());
    for refused in [Person::sign_in(&ward, "amina21", PASSWORD).await.unwrap_err(), amina.sign_out().await] {
        assert_eq!((refused.status, refused.header("x-trace-id").len()), (503, 32), "{}", refused.text());
    }
    amina.verify().await.expect(200); // what asks the disk for nothing goes on
    fs::remove_file(&filler).unwrap();
    eventually("it goes on once there is room", async || amina.refresh().await.ok()).await;
    ward.kill9().await;
    ward.start().await;
    amina.stays().await;
    ward.delivered().await;
    let refreshed = ward.trail(&["--type", "session.refreshed"]).await.len();
    assert_eq!(u64::try_from(refreshed).unwrap(), amina.held().generation());
}

#[tokio::test]
async fn sigterm_answers_what_is_under_way_and_exits_with_0() {
    let ward = Start::default().unlimited().set("password.failure_floor", "1s").up().await;
    ward.add_user("amina21", PASSWORD, &[]).await;
    let knocking = join_all((0..4).map(|_| Person::sign_in(&ward, "amina21", "the wrong one")));
    let stopping = async {
        eventually("all four are being looked at", async || {
            let found = ward.metrics().await.sum("carelink_database_statements_total", &["statement=\"reserve_sign_in\""]);
            (found >= 4.0).then_some(())
        })
        .await;
        ward.terminate().await;
    };
    let (answers, ()) = join(knocking, stopping).await;
    for answer in answers {
        assert_eq!(answer.unwrap_err().status, 401, "an answer that was owed");
    }
}

#[tokio::test]
async fn sigint_stops_it_too() {
    let ward = Carelink::up().await;
    ward.signal(Signal::INT);
    assert!(ward.ended().await.success());
}

#[tokio::test]
async fn c6_the_first_administrator_gets_in_once_and_by_no_other_way() {
    let ward = Carelink::up().await;
    let file = ward.data().join("first-admin");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let (name, secret) = text.trim_end().split_once(' ').unwrap();
    assert_eq!(name, "carelink-admin");
    let said = ward.says("carelink user set-password carelink-admin").await;
    assert!(said.contains("first-admin"), "{said}");
    assert!(!said.contains(secret) && !ward.log().contains(secret), "the password was told");
    Person::sign_in(&ward, name, secret).await.unwrap_err();

    ward.cli_with(&["user", "set-password", "carelink-admin", "--password-stdin"], PASSWORD).await.ok();
    assert!(!file.exists(), "it is gone once it was of use");
    let admin = ward.sign_in("carelink-admin", PASSWORD).await;
    assert!(carelink_tests::claims(&admin.held().access)["roles"].as_array().unwrap().contains(&json!("admin")));
    ward.restart().await;
    assert!(!file.exists(), "there has been an administrator");
    assert_eq!(ward.stdout_text().matches("first administrator").count(), 1);
}

#[tokio::test]
async fn c6_an_administrator_who_waits_gets_another_password_at_the_next_start() {
    let ward = Carelink::up().await;
    let file = ward.data().join("first-admin");
    let first = fs::read_to_string(&file).unwrap();
    ward.restart().await;
    assert_ne!(fs::read_to_string(&file).unwrap(), first);
    let listed = ward.json(&["user", "list", "--json"]).await;
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_demo_works_as_it_says() {
    let ward = Start::default().args(&["--demo"]).up().await;
    let said = ward.says("blacklist").await;
    let data = said.lines().find_map(|line| line.strip_prefix("data in ")).unwrap().to_owned();
    let (_, steps) = said.split_once("sign in:\n").expect("the demo prints its first steps");
    let script: String = steps.lines().filter_map(|line| line.strip_prefix("  ")).fold(String::new(), |all, line| all + line + "; echo\n");
    let run = tokio::process::Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output();
    let output = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{script}\n{answers}\n{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<_> = answers.lines().filter(|line| !line.is_empty()).collect();
    let [signed_in, me, refreshed, signed_out] = answers[..] else { panic!("{answers:?}") };
    for pair in [signed_in, refreshed] {
        let pair: serde_json::Value = serde_json::from_str(pair).unwrap();
        assert!(pair["access"].is_string() && pair["refresh"].is_string(), "{pair}");
    }
    assert_eq!(serde_json::from_str::<serde_json::Value>(me).unwrap()["username"], "amina");
    assert_eq!(signed_out, "{}");
    for line in said.lines().skip_while(|line| !line.starts_with("people to try")).skip(1).take_while(|line| line.starts_with("  ")) {
        let (name, rest) = line.trim().split_once(' ').unwrap();
        let password = rest.trim().rsplit_once("   ").unwrap().0.trim_end();
        ward.sign_in(name, password).await;
    }
    ward.terminate().await;
    assert!(!std::path::Path::new(&data).exists(), "the demo's directory goes with it");
}

#[tokio::test]
async fn l5_importing_twice_changes_nothing() {
    let ward = Start::default().unlimited().up().await;
    let first = ward.import(AUTH_USER).await;
    let imported = |report: &serde_json::Value, what: &str| -> u64 {
        report["users"].as_object().unwrap().values().map(|tally| tally[what].as_u64().unwrap()).sum()
    };
    assert_eq!(imported(&first, "imported"), 240);
    let known = AUTH_USER.person("amina21");
    let amina = ward.sign_in("amina21", &known.password).await;
    ward.cli_with(&["user", "set-password", "haruto0", "--password-stdin"], PASSWORD).await.ok();
    ward.delivered().await;
    let events = ward.trail(&[]).await.len();
    let moved = AUTH_USER.tokens().into_iter().find(|token| token.state == "live" && token.user != "haruto0").unwrap();
    let moved = Person::holding(&ward, &moved.user, carelink_tests::Pair { access: String::new(), refresh: moved.refresh });
    moved.stays().await;

    let second = ward.import(AUTH_USER).await;
    assert_eq!((imported(&second, "unchanged"), imported(&second, "imported"), imported(&second, "updated")), (240, 0, 0), "{second}");
    assert_eq!(second["tokens"]["live"], 0, "{second}");
    moved.stays().await;
    amina.is_in().await;
    ward.sign_in("haruto0", PASSWORD).await;
    ward.delivered().await;
    let since: Vec<_> = ward.trail(&[]).await.split_off(events).iter().map(|event| event.kind().to_owned()).collect();
    let made_by_the_import: Vec<_> = since.iter().filter(|kind| kind.starts_with("user.") || kind.starts_with("key.")).collect();
    assert!(made_by_the_import.is_empty(), "{since:?}");
}
