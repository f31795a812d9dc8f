//! Every command of an operator, by certificate and each to its own service (G3); a predecessor's people come the same way.

use carelink_tests::{
    PASSWORD, Pair, eventually,
    fleet::{Nurse, Plan},
    predecessor::AUTH_USER,
};

#[tokio::test]
async fn g3_every_command_goes_by_certificate_and_imports_go_where_they_belong() {
    let fleet = Plan::default().up().await;
    let (database, key) = (AUTH_USER.database(), AUTH_USER.secret_key_file());
    let import = ["import", "django", database.to_str().unwrap(), "--secret-key-file", key.to_str().unwrap(), "--json"];
    let report = fleet.cli(&import, "").await.json();
    assert!(report["users"].to_string().contains("imported"), "{report}");
    let again = fleet.cli(&import, "").await.json();
    assert_eq!(again["source"], report["source"]);

    let live = AUTH_USER.tokens().into_iter().find(|token| token.state == "live" || token.state == "outstanding");
    if let Some(token) = live {
        let holder = Nurse::holding(&fleet.doors, &fleet.journal, &token.user, Pair { access: String::new(), refresh: token.refresh });
        holder.stays().await;
    }
    fleet.add_users(&["amina".to_owned()], &["nurse"]).await;
    let amina = Nurse::sign_in(&fleet.doors, &fleet.journal, "amina", PASSWORD).await;
    let sessions = fleet.cli(&["sessions", "list", "amina", "--json"], "").await.json();
    assert_eq!(sessions["sessions"][0]["id"], amina.session());
    let shown = fleet.cli(&["user", "show", "amina", "--json"], "").await.json();
    assert!(shown.to_string().contains("nurse"), "{shown}");
    fleet.cli(&["sessions", "revoke", "--user", "amina", "--reason", "lost her badge"], "").await.ok();
    amina.is_out_everywhere().await;
    let keys = fleet.cli(&["key", "list", "--json"], "").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().iter().filter(|key| key["state"] == "signing").count(), 2, "{keys}");
    let rotated = fleet.cli(&["key", "rotate", "--reason", "a trial", "--json"], "").await.json();
    assert!(rotated["done"].is_boolean(), "{rotated}");
    eventually("the trail says who revoked", async || {
        let told = fleet.cli(&["audit", "list", "--type", "session.ended", "--json"], "").await.json();
        let by = told["events"][0]["actor"]["id"].as_str()?.to_owned();
        (by == "cert:alice").then_some(())
    })
    .await;
}
