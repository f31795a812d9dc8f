//! The day the machine burns down: a backup, what happened after it, and everything again elsewhere, on either engine (R1).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use carelink_servers::TestDatabase;
use carelink_tests::{Carelink, PASSWORD, Person, Said, Start, cli, eventually};
use tempfile::TempDir;

const NEW_PASSWORD: &str = "another that is long enough";

/// Runs a command that needs nobody running, on a data directory or on PostgreSQL.
async fn offline(words: &[&str], at: Where<'_>) -> Said {
    let mut command = cli::command();
    command.args(words);
    match at {
        Where::Directory(path) => {
            command.arg("--data").arg(path);
        }
        Where::Postgres(database) => {
            for service in ["auth", "token", "audit"] {
                let name = format!("CARELINK_{}__MIGRATE_URL", service.to_uppercase());
                command.env(name, database.url(&format!("carelink_{service}_owner")));
            }
        }
    }
    cli::run(command, "").await
}

#[derive(Clone, Copy)]
enum Where<'a> {
    Directory(&'a Path),
    Postgres(&'a TestDatabase),
}

/// Backs up a ward while it runs.
async fn backup(ward: &Carelink, into: &Path) -> PathBuf {
    let made = ward.json(&["backup", "--json", "--out", into.to_str().unwrap()]).await;
    PathBuf::from(made["file"].as_str().unwrap())
}

/// A directory with the master key of another and nothing else.
fn beside(ward: &Carelink, folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(ward.data().join("master.key"), path.join("master.key")).unwrap();
    path
}

async fn signs_in(ward: &Carelink, name: &str, password: &str) -> bool {
    Person::sign_in(ward, name, password).await.is_ok()
}

#[tokio::test]
async fn r1_a_restore_signs_everybody_out_and_takes_again_what_was_taken_since() {
    let folder = TempDir::new().unwrap();
    let ward = Start::default().unlimited().up().await;
    for (name, roles) in [("amina", &["nurse"][..]), ("bo", &[]), ("cleo", &[]), ("dan", &["doctor", "nurse"])] {
        ward.add_user(name, PASSWORD, roles).await;
    }
    let amina = ward.sign_in("amina", PASSWORD).await;
    let before = amina.stays().await;
    let file = backup(&ward, folder.path()).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let key = fs::read_to_string(ward.data().join("master.key")).unwrap();
    assert!(!text.contains(key.trim()) && !text.contains(PASSWORD) && !text.contains(&before.refresh));

    ward.cli(&["user", "disable", "bo", "--reason", "left"]).await.ok();
    let password = folder.path().join("pw");
    fs::write(&password, NEW_PASSWORD).unwrap();
    ward.cli(&["user", "set-password", "cleo", "--password-file", password.to_str().unwrap()]).await.ok();
    ward.cli(&["user", "roles", "dan", "--remove", "doctor", "--add", "lead", "--reason", "moved"]).await.ok();
    ward.add_user("eva", PASSWORD, &[]).await;
    let after = amina.stays().await;

    let file = file.to_str().unwrap();
    let running = offline(&["restore", file], Where::Directory(ward.data())).await.fails(1);
    assert!(running.contains("stop it first"), "{running}");
    ward.terminate().await;
    let full = offline(&["restore", file], Where::Directory(ward.data())).await.fails(1);
    assert!(full.contains("is there already"), "{full}");

    let new = beside(&ward, &folder, "new");
    let trail = ward.data().to_str().unwrap();
    let done = offline(&["restore", file, "--trail", trail, "--json"], Where::Directory(&new)).await.json();
    assert_eq!(done["applied"]["sessions_ended"], 1, "{done}");
    assert_eq!(done["applied"]["users_missing"], 1, "eva came later: {done}");
    let names: Vec<&str> = done["applied"]["users"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{done}");

    let elsewhere = Start::default().unlimited().data(&new).up().await;
    for pair in [&before, &after] {
        let amina = Person::holding(&elsewhere, "amina", pair.clone());
        assert_eq!(amina.verify().await.status, 401, "access tokens from before are refused");
        assert_eq!(amina.refresh().await.unwrap_err().status, 401, "refresh tokens from before are refused");
    }
    elsewhere.sign_in("amina", PASSWORD).await.stays().await;
    for (name, password) in [("bo", PASSWORD), ("cleo", PASSWORD), ("cleo", NEW_PASSWORD), ("eva", PASSWORD)] {
        assert!(!signs_in(&elsewhere, name, password).await, "{name}");
    }
    let dan = elsewhere.json(&["user", "show", "dan", "--json"]).await;
    assert!(dan.to_string().contains("nurse") && !dan.to_string().contains("doctor") && !dan.to_string().contains("lead"), "{dan}");
    elsewhere.cli(&["user", "set-password", "cleo", "--password-file", password.to_str().unwrap()]).await.ok();
    assert!(signs_in(&elsewhere, "cleo", NEW_PASSWORD).await);
    eventually("the trail tells of the restore", async || {
        let told = elsewhere.json(&["audit", "list", "--type", "backup.restored", "--json"]).await;
        (told["events"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let ended = elsewhere.json(&["audit", "list", "--type", "session.ended", "--json"]).await;
    assert_eq!(ended["events"][0]["reason"], "restored", "{ended}");
}

#[tokio::test]
async fn r1_without_a_trail_a_restore_says_what_it_cannot_know() {
    let folder = TempDir::new().unwrap();
    let ward = Carelink::up().await;
    ward.add_user("bo", PASSWORD, &[]).await;
    let file = backup(&ward, folder.path()).await;
    ward.cli(&["user", "disable", "bo", "--reason", "left"]).await.ok();
    let new = beside(&ward, &folder, "new");
    let said = offline(&["restore", file.to_str().unwrap()], Where::Directory(&new)).await.ok();
    assert!(said.stderr.contains("Not known without --trail"), "{}", said.stderr);
    assert!(said.stderr.contains("master.key"), "{}", said.stderr);
    let elsewhere = Start::default().data(&new).up().await;
    assert!(signs_in(&elsewhere, "bo", PASSWORD).await, "as of the backup");
}

#[tokio::test]
async fn a_backup_fits_both_engines_there_and_back() {
    let folder = TempDir::new().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let ward = Start::default().unlimited().up().await;
    for number in 0..30 {
        ward.add_user(&format!("nurse{number}"), PASSWORD, &["nurse"]).await;
    }
    ward.sign_in("nurse7", PASSWORD).await.stays().await;
    let file = backup(&ward, folder.path()).await;
    let (file, postgres) = (file.to_str().unwrap(), Where::Postgres(&database));

    let unmade = offline(&["restore", file], postgres).await.fails(1);
    assert!(unmade.contains("carelink migrate"), "{unmade}");
    let lacks = offline(&["migrate", "--check"], postgres).await.fails(1);
    assert!(lacks.contains("token: 0001_sessions"), "{lacks}");
    let planned = offline(&["migrate", "--dry-run", "--json"], postgres).await.json();
    let done = offline(&["migrate", "--json"], postgres).await.json();
    assert_eq!(done["schemas"], planned["schemas"]);
    offline(&["migrate", "--check"], postgres).await.ok();
    let waiting = |service: &str| database.sql(&format!("SELECT count(*) FROM carelink_{service}.outbox WHERE destination = 'audit'"));
    let steps = |service: &str| {
        let schema = done["schemas"].as_array().unwrap().iter().find(|schema| schema["schema"] == service).unwrap();
        schema["migrations"].as_array().unwrap().len()
    };
    let (own, told) = (steps("auth").to_string(), (steps("token") + steps("audit")).to_string());
    assert_eq!(
        (waiting("auth").trim(), waiting("token").trim()),
        (own.as_str(), told.as_str()),
        "every step is an event, the trail's among token's"
    );

    offline(&["restore", file], postgres).await.ok();
    let again = offline(&["restore", file], postgres).await.fails(1);
    assert!(again.contains("is not empty"), "{again}");
    assert_eq!(database.sql("SELECT count(*) FROM carelink_auth.users").trim(), ward.count_rows("auth", "users").to_string());

    let back = folder.path().join("back.backup");
    offline(&["backup", "--out", back.to_str().unwrap()], postgres).await.ok();
    let new = beside(&ward, &folder, "new");
    offline(&["restore", back.to_str().unwrap()], Where::Directory(&new)).await.ok();
    let elsewhere = Start::default().unlimited().data(&new).up().await;
    elsewhere.sign_in("nurse7", PASSWORD).await.stays().await;
    let events = elsewhere.count_rows("audit", "events");
    assert!(events >= ward.count_rows("audit", "events") - 5, "{events}");
}

#[tokio::test]
async fn r1_a_trail_on_postgres_is_read_with_what_was_not_delivered_or_refused() {
    let folder = TempDir::new().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let ward = Carelink::up().await;
    ward.add_user("bo", PASSWORD, &[]).await;
    let early = backup(&ward, folder.path()).await;
    ward.cli(&["user", "disable", "bo", "--reason", "left"]).await.ok();
    ward.delivered().await;
    let later = folder.path().join("later.backup");
    ward.cli(&["backup", "--out", later.to_str().unwrap()]).await.ok();
    offline(&["migrate"], Where::Postgres(&database)).await.ok();
    offline(&["restore", later.to_str().unwrap()], Where::Postgres(&database)).await.ok();

    let early = early.to_str().unwrap();
    let url = |service: &str| {
        let file = folder.path().join(format!("{service}-url"));
        fs::write(&file, database.url(&format!("carelink_{service}_owner"))).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (audit, auth) = (url("audit"), url("auth"));
    let new = beside(&ward, &folder, "new");
    let half = offline(&["restore", early, "--trail-url-file", &audit], Where::Directory(&new)).await.fails(1);
    assert!(half.contains("had not delivered") && half.contains("--delivered-only"), "{half}");
    let other = offline(&["restore", early, "--trail-url-file", &auth], Where::Directory(&new)).await.fails(1);
    assert!(other.contains("none of the trails given holds any"), "{other}");
    let words = ["restore", early, "--trail-url-file", &audit, "--trail-url-file", &auth, "--json"];
    let done = offline(&words, Where::Directory(&new)).await.json();
    assert_eq!(
        (&done["applied"]["users"][0]["username"], &done["applied"]["users"][0]["disabled"]),
        (&"bo".into(), &true.into()),
        "{done}"
    );
    let lost = beside(&ward, &folder, "lost");
    let words = ["restore", early, "--trail-url-file", &audit, "--delivered-only", "--json"];
    let done = offline(&words, Where::Directory(&lost)).await.json();
    assert_eq!(done["applied"]["users"][0]["username"], "bo", "{done}");
}

#[tokio::test]
async fn a_doctor_looks_at_postgres_as_its_owners() {
    let database = carelink_servers::postgres().await.database().await;
    let words = ["doctor", "--json", "--url", "http://127.0.0.1:9", "--ops", "http://127.0.0.1:9"];
    let look = async || -> serde_json::Value {
        let said = offline(&words, Where::Postgres(&database)).await;
        assert_eq!(said.exit, Some(1), "nothing runs: {}{}", said.stdout, said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let state = |told: &serde_json::Value, check: &str| -> String {
        let found = told["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("nothing is said of {check}: {told:#}"))["state"].as_str().unwrap().to_owned()
    };
    let told = look().await;
    assert_eq!(state(&told, "schema token"), "bad", "nothing was migrated: {told:#}");
    offline(&["migrate"], Where::Postgres(&database)).await.ok();
    let told = look().await;
    for service in ["auth", "token", "audit"] {
        assert_eq!(state(&told, &format!("database {service}")), "ok", "{told:#}");
        assert_eq!(state(&told, &format!("indexes {service}")), "ok", "{told:#}");
    }
    assert_eq!((state(&told, "clock"), state(&told, "standby"), state(&told, "backup")), ("ok".into(), "warn".into(), "warn".into()));
    database.sql("DROP INDEX carelink_token.session_by_subject");
    assert_eq!(state(&look().await, "indexes token"), "bad");
}

#[tokio::test]
async fn k3_what_a_fleet_keeps_sealed_is_put_under_another_master_key() {
    let folder = TempDir::new().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let ward = Start::default().unlimited().up().await;
    ward.import(carelink_tests::predecessor::AUTH_USER).await;
    ward.delivered().await;
    let file = backup(&ward, folder.path()).await;
    let postgres = Where::Postgres(&database);
    offline(&["migrate"], postgres).await.ok();
    offline(&["restore", file.to_str().unwrap()], postgres).await.ok();

    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (old, new, other) = (ward.data().join("master.key").to_str().unwrap().to_owned(), path("new.key"), path("other.key"));
    let done = offline(&["key", "rewrap", "--from", &old, "--to", &new, "--json"], postgres).await.json();
    assert_eq!((&done["sealed"], &done["made"]), (&1.into(), &true.into()), "the predecessor's key: {done}");
    let wrong = offline(&["key", "rewrap", "--from", &old, "--to", &other], postgres).await.fails(1);
    assert!(wrong.contains("nothing was changed"), "{wrong}");
    let done = offline(&["key", "rewrap", "--from", &new, "--to", &other, "--json"], postgres).await.json();
    assert_eq!(done["sealed"], 1, "{done}");
    offline(&["key", "rewrap", "--from", &new, "--to", &new], postgres).await.fails(2);
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let ward = Carelink::up().await;
    ward.add_user("bo", PASSWORD, &[]).await;
    let file = backup(&ward, folder.path()).await;
    offline(&["restore", "--check", file.to_str().unwrap()], Where::Directory(folder.path())).await.ok();
    let bytes = fs::read(&file).unwrap();
    let broken = folder.path().join("broken");
    let mut changed = bytes.clone();
    let middle = bytes.len() / 2;
    changed[middle] = if changed[middle] == b'1' { b'2' } else { b'1' };
    let new = folder.path().join("new");
    for (bytes, why) in [(&bytes[..middle], "ends before its last line"), (&changed[..], "is damaged"), (b"nothing\n", "is no backup")] {
        fs::write(&broken, bytes).unwrap();
        let said = offline(&["restore", broken.to_str().unwrap()], Where::Directory(&new)).await.fails(1);
        assert!(said.contains(why), "{said}");
        assert!(!new.exists());
    }
    let again = ward.cli(&["backup", "--out", file.to_str().unwrap()]).await.fails(1);
    assert!(again.contains("never overwritten"), "{again}");
    assert!(fs::read_dir(folder.path()).unwrap().all(|file| !file.unwrap().file_name().to_string_lossy().ends_with(".part")));
}

#[tokio::test]
async fn r1_a_restore_that_was_killed_left_nothing_that_starts_and_can_be_done_again() {
    let folder = TempDir::new().unwrap();
    let ward = Start::default().unlimited().up().await;
    for number in 0..20 {
        ward.add_user(&format!("nurse{number}"), PASSWORD, &[]).await;
    }
    let file = backup(&ward, folder.path()).await;
    let new = beside(&ward, &folder, "new");
    for _ in 0..crate::rounds(5) {
        let mut restore = cli::command();
        restore.arg("restore").arg(&file).arg("--data").arg(&new);
        let mut child = restore.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // As soon as it has begun: what is there then is not whole.
        let begun = eventually("the restore begins or is over", async || {
            (new.join(".restoring").exists() || new.join("auth.sqlite3").exists()).then_some(())
        });
        begun.await;
        child.kill().await.unwrap();
        if new.join("auth.sqlite3").exists() {
            break; // it was over, or nearly
        }
        assert!(!new.join("audit.sqlite3").exists() && !new.join("token.sqlite3").exists());
    }
    if !new.join("auth.sqlite3").exists() {
        offline(&["restore", file.to_str().unwrap()], Where::Directory(&new)).await.ok();
    }
    if ["token", "audit"].iter().all(|service| new.join(format!("{service}.sqlite3")).exists()) {
        let elsewhere = Start::default().unlimited().data(&new).up().await;
        assert!(signs_in(&elsewhere, "nurse7", PASSWORD).await);
    } else {
        let refused = Start::default().data(&new).refused().await.fails(1);
        assert!(refused.contains("is not there"), "{refused}");
    }
}

#[tokio::test]
async fn a_data_directory_is_migrated_by_a_command_too_and_a_newer_one_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let ward = Carelink::up().await;
    let (data, nothing) = (Where::Directory(ward.data()), folder.path().join("nothing"));
    let missing = offline(&["migrate"], Where::Directory(&nothing)).await.fails(1);
    assert!(missing.contains("there is no data directory"), "{missing}");
    fs::create_dir(&nothing).unwrap();
    offline(&["migrate"], Where::Directory(&nothing)).await.ok();
    assert!(!nothing.join("audit.sqlite3").exists(), "databases are made beside their key, by a start");

    offline(&["migrate", "--check"], data).await.ok();
    let running = offline(&["migrate"], data).await.fails(1);
    assert!(running.contains("stop it first"), "{running}");
    ward.terminate().await;
    let done = offline(&["migrate", "--json"], data).await.json();
    assert_eq!((&done["up_to_date"], &done["schemas"][0]["migrations"]), (&true.into(), &serde_json::json!([])));
    let token = rusqlite::Connection::open(ward.data().join("token.sqlite3")).unwrap();
    token.execute("INSERT INTO migration VALUES ('9999_later', 'x', 1)", []).unwrap();
    drop(token);
    let newer = offline(&["migrate"], data).await.fails(1);
    assert!(newer.contains("newer version"), "{newer}");
}

#[tokio::test]
async fn a_backup_that_was_killed_leaves_no_file_that_could_be_taken_for_one() {
    let folder = TempDir::new().unwrap();
    let ward = Start::default().unlimited().up().await;
    for number in 0..20 {
        ward.add_user(&format!("nurse{number}"), PASSWORD, &[]).await;
    }
    for round in 0..crate::rounds(3) {
        let file = folder.path().join(format!("{round}.backup"));
        let mut backup = cli::command();
        backup.arg("backup").arg("--out").arg(&file).arg("--data").arg(ward.data());
        let mut child = backup.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        eventually("the backup begins", async || fs::read_dir(folder.path()).unwrap().next().map(|_| ())).await;
        child.kill().await.unwrap();
        if file.exists() {
            offline(&["restore", "--check", file.to_str().unwrap()], Where::Directory(folder.path())).await.ok();
        }
    }
    ward.sign_in("nurse7", PASSWORD).await.stays().await;
}
