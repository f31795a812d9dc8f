//! The day the database is lost: a backup of a fleet that works, another database, and everybody signs in again (R1).

use std::{fs, path::Path};

use carelink_tests::{
    PASSWORD, cli, eventually,
    fleet::{Fleet, Nurse, Plan, Service},
};

/// Runs a command as the owners of the schemas.
async fn as_owners(fleet: &Fleet, words: &[&str]) -> cli::Said {
    let mut command = cli::command();
    command.args(words).current_dir(fleet.home());
    for service in Service::STORES {
        let name = format!("CARELINK_{}__MIGRATE_URL", service.short().to_uppercase());
        command.env(name, fleet.database.url(&format!("carelink_{}_owner", service.short())));
    }
    cli::run(command, "").await
}

#[tokio::test]
async fn r1_a_fleet_goes_on_in_another_database_and_no_token_from_before_is_good() {
    let fleet = Service::ALL.into_iter().fold(Plan::default(), |plan, service| plan.replicas(service, 1)).up().await;
    fleet.add_users(&["amina".to_owned(), "bo".to_owned()], &["nurse"]).await;
    let amina = Nurse::sign_in(&fleet.doors, &fleet.journal, "amina", PASSWORD).await;
    let before = amina.stays().await;
    as_owners(&fleet, &["backup", "--out", "before.backup"]).await.ok();
    fleet.cli(&["user", "disable", "bo", "--reason", "left"], "").await.ok();
    let after = amina.stays().await;
    let told = fleet.cli(&["audit", "list", "--type", "user.disabled", "--json"], "").await.json();
    assert!(told["events"][0]["actor"]["id"].as_str().unwrap().starts_with("cert:"), "G3: {told}");
    as_owners(&fleet, &["backup", "--out", "later.backup"]).await.ok();
    let used = as_owners(&fleet, &["restore", "before.backup"]).await.fails(1);
    assert!(used.contains("is in use"), "{used}");

    // The gateway stays: it must forget what it knew by itself.
    for service in Service::STORES {
        fleet.replica(service, 0).terminate().await;
    }
    for service in Service::STORES {
        fleet.database.sql(&format!("DROP SCHEMA carelink_{} CASCADE", service.short()));
    }
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/postgres/roles.sql");
    fleet.database.sql(&fs::read_to_string(roles).unwrap());
    as_owners(&fleet, &["migrate"]).await.ok();
    let done = as_owners(&fleet, &["restore", "before.backup", "--trail", "later.backup", "--json"]).await.json();
    assert_eq!((&done["applied"]["sessions_ended"], &done["applied"]["users"][0]["username"]), (&1.into(), &"bo".into()), "{done}");
    as_owners(&fleet, &["migrate", "--check"]).await.ok();
    for service in Service::STORES {
        fleet.replica(service, 0).start().await;
    }
    fleet.ready().await;

    eventually("an access token from before is refused", async || (amina.verify_at(0).await.ok()?.status == 401).then_some(())).await;
    for pair in [before, after] {
        let answer = fleet.doors.post_until_answered("/account/token/refresh/", &serde_json::json!({ "refresh": pair.refresh })).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    Nurse::sign_in(&fleet.doors, &fleet.journal, "amina", PASSWORD).await.stays().await;
    let bo = Nurse::try_sign_in(&fleet.doors, &fleet.journal, "bo", PASSWORD).await;
    assert_eq!(bo.unwrap_err().status, 401, "disabled after the backup");
    let keys = fleet.cli(&["key", "list", "--json"], "").await.json();
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["state"] == "next"), "{keys}");
}
