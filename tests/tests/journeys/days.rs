//! Ordinary days: signing in, staying in, going home; and what operators take away (S5, U2, V2, G3).

use carelink_tests::{Carelink, PASSWORD, Pair, Person, Start, claims, eventually};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

#[tokio::test]
async fn somebody_signs_in_stays_in_and_goes_home() {
    let ward = Carelink::up().await;
    let id = ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    let amina = ward.sign_in("amina21", PASSWORD).await;
    amina.is_in().await;
    assert_eq!(amina.me().await.json(), json!({"id": id, "username": "amina21"}));

    let first = amina.held();
    let second = amina.stays().await;
    assert_eq!((second.session(), second.generation()), (first.session(), 1));
    assert_eq!(claims(&second.refresh)["exp"], claims(&first.refresh)["exp"], "no refresh moves the end");
    assert_eq!(claims(&second.access)["roles"], json!(["nurse"]));
    let earlier = Person::holding(&ward, "amina21", first);
    earlier.is_in().await; // S8

    amina.sign_out().await.expect(200);
    amina.is_out().await;
    earlier.is_out().await;
    let refused = amina.refresh().await.unwrap_err();
    assert_eq!((refused.status, refused.json()["detail"].clone()), (401, json!("Token is blacklisted")));
}

#[tokio::test]
async fn s5_signing_out_is_over_for_one_session_only() {
    let ward = Carelink::up().await;
    let ward_pc = ward.somebody("amina21").await;
    let tablet = ward.sign_in("amina21", PASSWORD).await;
    ward_pc.sign_out().await.expect(200);
    ward_pc.is_out().await;
    tablet.is_in().await;
    tablet.stays().await;
}

#[tokio::test]
async fn v2_an_operator_who_revokes_is_obeyed_at_once() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let tablet = ward.sign_in("amina21", PASSWORD).await;
    let bjorn = ward.somebody("bjorn").await;
    let said = ward.json(&["sessions", "revoke", &amina.held().session(), "--reason", "left it open", "--json"]).await;
    assert_eq!(said["ended"], 1);
    amina.is_out_at_once().await;
    tablet.is_in().await;
    let said = ward.json(&["sessions", "revoke", "--user", "amina21", "--reason", "lost her badge", "--json"]).await;
    assert_eq!(said["ended"], 1);
    tablet.is_out_at_once().await;
    assert_eq!(tablet.refresh().await.unwrap_err().status, 401);
    bjorn.is_in().await;
}

#[tokio::test]
async fn u2_a_disabled_user_is_out_at_once_and_back_when_enabled() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let said = ward.json(&["user", "disable", "amina21", "--reason", "left", "--json"]).await;
    assert_eq!(said["revocation"], "done");
    amina.is_out_at_once().await;
    let refused = amina.refresh().await.unwrap_err();
    assert_eq!((refused.status, refused.json()), (401, json!({"detail": "No active account found for the given token."})));
    let refused = Person::sign_in(&ward, "amina21", PASSWORD).await.unwrap_err();
    assert_eq!(refused.json(), json!({"detail": "No active account found with the given credentials"}));
    ward.cli(&["user", "enable", "amina21", "--reason", "back"]).await.ok();
    assert_eq!(amina.refresh().await.unwrap_err().status, 401, "what has ended stays so");
    ward.sign_in("amina21", PASSWORD).await.is_in().await;
}

#[tokio::test]
async fn u1_a_new_password_ends_what_the_old_one_began() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let set = ["user", "set-password", "amina21", "--password-stdin", "--reason", "forgot it", "--json"];
    let said = ward.cli_with(&set, "another long night, nine nurses").await.json();
    assert_eq!(said["revocation"], "done");
    amina.is_out_at_once().await;
    assert_eq!(amina.refresh().await.unwrap_err().status, 401);
    Person::sign_in(&ward, "amina21", PASSWORD).await.unwrap_err();
    ward.sign_in("amina21", "another long night, nine nurses").await.is_in().await;
}

#[tokio::test]
async fn u2_a_lost_role_is_refused_at_once_and_a_refresh_brings_the_new_ones() {
    let ward = Carelink::up().await;
    ward.add_user("amina21", PASSWORD, &["nurse", "ward-lead"]).await;
    let amina = ward.sign_in("amina21", PASSWORD).await;
    let said = ward.json(&["user", "roles", "amina21", "--remove", "ward-lead", "--reason", "moved", "--json"]).await;
    assert_eq!(said["revocation"], "done");
    amina.is_out_at_once().await;
    let pair = amina.stays().await;
    assert_eq!(claims(&pair.access)["roles"], json!(["nurse"]));
    amina.is_in().await;
    // A role that is granted takes nothing away.
    ward.cli(&["user", "roles", "amina21", "--add", "doctor"]).await.ok();
    amina.is_in().await;
    assert_eq!(claims(&amina.stays().await.access)["roles"], json!(["doctor", "nurse"]));
}

#[tokio::test]
async fn g3_what_takes_away_asks_why_and_says_who_did_it() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let said = ward.cli(&["user", "disable", "amina21"]).await.fails(2);
    assert!(said.contains("--reason"), "{said}");
    amina.is_in().await;
    ward.cli(&["user", "disable", "amina21", "--reason", "left the house"]).await.ok();
    let events = ward.whole_trail(&["--type", "user.disabled"]).await;
    assert_eq!(events.len(), 1);
    let event = &events[0].0;
    assert_eq!(event["personal"]["text"], "left the house");
    assert_eq!(event["actor"]["kind"], "operator");
    assert!(event["actor"]["id"].as_str().unwrap().starts_with("uid:"), "{event}");
}

#[tokio::test]
async fn c1_names_are_compared_letter_by_letter_and_trimmed() {
    let ward = Carelink::up().await;
    ward.add_user("Amina21", PASSWORD, &[]).await;
    ward.sign_in(" Amina21\n", PASSWORD).await;
    Person::sign_in(&ward, "amina21", PASSWORD).await.unwrap_err();
    ward.cli_with(&["user", "add", "bjorn", "--email", "b@ward.example", "--password-stdin"], PASSWORD).await.ok();
    ward.sign_in("b@ward.example", PASSWORD).await;
}

#[tokio::test]
async fn r2_a_restart_forgets_nothing() {
    let ward = Carelink::up().await;
    let (amina, bjorn) = (ward.somebody("amina21").await, ward.somebody("bjorn").await);
    bjorn.sign_out().await.expect(200);
    ward.restart().await;
    amina.is_in().await;
    amina.stays().await;
    bjorn.is_out().await;
}

#[tokio::test]
async fn k2_the_published_keys_are_those_that_sign() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina21").await;
    let keys = ward.ask(Method::GET, "/.well-known/jwks.json", &[], "").await.expect(200).json();
    let header = amina.held().access.split('.').next().unwrap().to_owned();
    let header = claims(&format!("x.{header}.x"));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert_eq!((&key["alg"], &key["kty"], &key["crv"]), (&json!("EdDSA"), &json!("OKP"), &json!("Ed25519")));
    assert!(key.get("d").is_none());
    // Anybody can check a token with what is published, knowing nothing of us.
    let public = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let mut wanted = Validation::new(Algorithm::EdDSA);
    wanted.set_audience(&["carelink"]);
    wanted.set_issuer(&["carelink"]);
    let claims = jsonwebtoken::decode::<Value>(&amina.held().access, &public, &wanted).unwrap().claims;
    assert!(claims["sub"].is_string() && claims["user_id"].is_string() && claims["token_type"] == "access", "{claims}");
    assert!(!claims.to_string().contains("amina"), "no name in a token: {claims}");
    ward.restart().await;
    assert_eq!(ward.ask(Method::GET, "/.well-known/jwks.json", &[], "").await.json(), keys);
}

#[tokio::test]
async fn s7_nothing_outlives_the_session() {
    let ward = Start::default().unlimited().set("session.lifetime", "2s").set("session.access_lifetime", "2s").up().await;
    let amina = ward.somebody("amina21").await;
    let end = claims(&amina.held().refresh)["exp"].clone();
    assert_eq!(claims(&amina.held().access)["exp"], end);
    let refused = eventually("the session is over", async || amina.refresh().await.err()).await;
    assert_eq!((refused.status, refused.json()["detail"].clone()), (401, json!("Token is expired")));
    let refused = eventually("the access token too", async || Some(amina.verify().await).filter(|answer| answer.status == 401)).await;
    assert_eq!(refused.json()["code"], "token_not_valid");
}

#[tokio::test]
async fn limits_are_told_with_a_true_time_to_wait() {
    let ward = Start::default().set("limits.sign_in.account.burst", "2").set("limits.sign_in.account.per_minute", "60").up().await;
    ward.add_user("amina21", PASSWORD, &[]).await;
    let knock = async || ward.post("/account/token/", &json!({"username": "amina21", "password": "wrong"})).await;
    let turned_away = eventually("the budget is used up", async || Some(knock().await).filter(|answer| answer.status == 429)).await;
    let wait: u64 = turned_away.header("retry-after").parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert!(turned_away.json()["code"].is_string() && !turned_away.header("x-trace-id").is_empty());
    // Somebody else is not concerned, and the budget comes back.
    ward.somebody("bjorn").await;
    eventually("the budget is back", async || {
        Pair::of(ward.post("/account/token/", &json!({"username": "amina21", "password": PASSWORD})).await).ok()
    })
    .await;
    eventually("the trail knows", async || ward.trail(&["--type", "sign_in.throttled"]).await.pop()).await;
}
