//! Moving from Django: docs/MIGRATION.md types itself, and a source whose SimpleJWT recorded no rotations is taken over whole.

use carelink_tests::{Carelink, Start, claims, predecessor::fixtures, typed};
use serde_json::{Value, json};

#[tokio::test]
async fn every_command_of_the_migration_does_what_it_shows() {
    typed::page("docs/MIGRATION.md", 7).await;
}

async fn refreshed(ward: &Carelink, state: &str) -> Vec<(i64, u16, String)> {
    let text = std::fs::read_to_string(fixtures("simplejwt").join("rotated-5.4.tokens.json")).unwrap();
    let tokens = serde_json::from_str::<Value>(&text).unwrap();
    let mut answers = Vec::new();
    for token in tokens["tokens"].as_array().unwrap().iter().filter(|token| token["state"] == state) {
        let answer = ward.post("/account/token/refresh/", &json!({"refresh": token["refresh"]})).await;
        let access = if answer.status == 200 { answer.json()["access"].as_str().unwrap().to_owned() } else { String::new() };
        answers.push((token["user_id"].as_i64().unwrap(), answer.status, access));
    }
    answers
}

/// Imports it with the key; whether the report says that rotations are recorded nowhere.
async fn imported(ward: &Carelink) -> (Value, bool) {
    let of = |ending: &str| fixtures("simplejwt").join(format!("rotated-5.4.{ending}"));
    let report = ward.import_from(&of("sqlite3"), &of("secret_key"), &["--json"]).await.json();
    let noted = report["notes"].as_array().unwrap().iter().any(|note| note["note"] == "unrecorded_rotations");
    (report, noted)
}

#[tokio::test]
async fn l3_what_an_old_simplejwt_recorded_nowhere_is_accepted_where_it_is_so_configured() {
    let ward = Carelink::up().await;
    let (report, noted) = imported(&ward).await;
    assert!(noted, "{report}");
    assert_eq!((&report["tokens"]["live"], &report["tokens"]["blacklisted"]), (&json!(2), &json!(12)));
    assert!(refreshed(&ward, "live").await.iter().all(|(_, status, _)| *status == 200));
    assert!(refreshed(&ward, "rotated").await.iter().all(|(_, status, _)| *status == 401), "in no table");

    let ward = Start::default().set("legacy.accept", "signed").set("legacy.until", "2040-01-01T00:00:00Z").up().await;
    assert!(refreshed(&ward, "rotated").await.iter().all(|(_, status, _)| *status == 401), "nobody is imported");
    imported(&ward).await;
    let answers = refreshed(&ward, "rotated").await;
    assert_eq!(answers.len(), 6);
    for (user, status, access) in answers {
        assert_eq!((status, claims(&access)["user_id"].clone()), (200, json!(user.to_string())));
    }
    assert!(refreshed(&ward, "gone").await.iter().all(|(_, status, _)| *status == 401), "blacklisted there");
}
