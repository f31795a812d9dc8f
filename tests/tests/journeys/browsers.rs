//! Cookie mode as a real browser lives it (B1 to B4), and the page of our own paths as it shows it.

use carelink_tests::{Browser, Carelink, PASSWORD, Start};
use serde_json::{Value, json};

const ASK: &str = "const [method, path, body] = args;
    const answer = await fetch(path, body ? {method, headers: {'content-type': 'application/json'}, body: JSON.stringify(body)} : {method});
    const text = await answer.text();
    return [answer.status, text ? JSON.parse(text) : null, document.cookie];";

/// A page of the origin asks.
async fn ask(browser: &Browser, method: &str, path: &str, body: Value) -> (u64, Value) {
    let mut answer = browser.run(ASK, &[method.into(), path.into(), body]).await;
    assert_eq!(answer[2], "", "{method} {path}: a script sees a cookie: {answer}");
    (answer[0].as_u64().unwrap_or_else(|| panic!("{method} {path}: {answer}")), answer[1].take())
}

/// The cookies that the browser holds for a path, by their names.
async fn held(browser: &Browser, home: &str, path: &str) -> Vec<(String, Value)> {
    browser.open(&format!("{home}{path}")).await;
    let mut cookies: Vec<_> =
        browser.cookies().await.into_iter().map(|cookie| (cookie["name"].as_str().unwrap().to_owned(), cookie)).collect();
    cookies.sort_by(|one, other| one.0.cmp(&other.0));
    cookies
}

fn who() -> Value {
    json!({"username": "amina21", "password": PASSWORD, "cookies": true})
}

#[tokio::test]
async fn b1_a_browser_of_this_machine_lives_by_cookies_that_no_script_sees() {
    let Some(browser) = Browser::start().await else { return };
    let ward = Carelink::up().await;
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    for host in ["localhost", "127.0.0.1"] {
        let home = format!("http://{host}:{}", ward.address().port());
        browser.open(&format!("{home}/docs")).await;
        let (status, session) = ask(&browser, "POST", "/v1/session", who()).await;
        assert!(status == 200 && session["ends_at"].is_string() && session.get("access_token").is_none(), "{status} {session}");

        let everywhere = held(&browser, &home, "/docs").await;
        let names: Vec<&str> = everywhere.iter().map(|(name, _)| name.as_str()).filter(|name| !name.ends_with("-device")).collect();
        assert_eq!(names, ["__Host-carelink"], "{host}: the refresh token goes to /v1/session alone");
        let at_session = held(&browser, &home, "/v1/session").await;
        for (name, cookie) in &at_session {
            assert!(cookie["httpOnly"] == true && cookie["secure"] == true && cookie["sameSite"] == "Strict", "{name}: {cookie}");
        }
        let refresh = &at_session.iter().find(|(name, _)| name == "__Secure-carelink-refresh").unwrap().1;
        assert_eq!(refresh["path"], "/v1/session");

        browser.open(&format!("{home}/docs")).await;
        let (status, me) = ask(&browser, "GET", "/v1/session", Value::Null).await;
        assert_eq!((status, me["username"].as_str()), (200, Some("amina21")));
        let (status, _) = ask(&browser, "POST", "/v1/session/refresh", Value::Null).await;
        assert_eq!(status, 200);
        let (_, refreshed) = ask(&browser, "GET", "/v1/session", Value::Null).await;
        assert_eq!(refreshed["session"], me["session"]);

        let (status, _) = ask(&browser, "DELETE", "/v1/session", Value::Null).await;
        assert_eq!(status, 204);
        let (status, problem) = ask(&browser, "GET", "/v1/session", Value::Null).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("token_missing")), "{host}");
        let left = held(&browser, &home, "/v1/session").await;
        assert!(left.iter().all(|(name, _)| name == "__Host-carelink-device"), "{left:?}");
    }
}

#[tokio::test]
async fn b4_signing_in_over_a_held_session_ends_that_one_and_keeps_the_new_cookies() {
    let Some(browser) = Browser::start().await else { return };
    let ward = Carelink::up().await;
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    browser.open(&format!("http://localhost:{}/docs", ward.address().port())).await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        assert_eq!(ask(&browser, "POST", "/v1/session", who()).await.0, 200);
        sessions.push(ask(&browser, "GET", "/v1/session", Value::Null).await.1["session"].clone());
    }
    assert_ne!(sessions[0], sessions[1]);
    let (status, mine) = ask(&browser, "GET", "/v1/sessions", Value::Null).await;
    let mine = mine["sessions"].as_array().unwrap().clone();
    assert_eq!((status, mine.len(), &mine[0]["id"]), (200, 1, &sessions[1]), "{mine:?}");
    assert!(mine[0]["current"] == true && mine[0]["browser"] == true && mine[0]["network"] == "this machine", "{mine:?}");
    assert!(mine[0]["device"].as_str().unwrap().starts_with("Chrom"), "{mine:?}");
    let ended = ward.whole_trail(&["--type", "session.ended"]).await;
    assert_eq!((ended.len(), ended[0].text("reason")), (1, "replaced"), "{ended:?}");
    assert_eq!(ask(&browser, "POST", "/v1/session/refresh", Value::Null).await.0, 200);
}

#[tokio::test]
async fn b1_over_a_plain_connection_to_another_machine_a_browser_keeps_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let ward = Start::default().set("gateway.allowed_hosts", "ward.example").up().await;
    let said = ward.address().port();
    browser.open(&format!("http://ward.example:{said}/docs")).await;
    // Nobody signs in: whatever was set, nothing would come back.
    let (status, _) = ask(&browser, "POST", "/v1/session", json!({"username": "nobody", "password": "x", "cookies": true})).await;
    assert_eq!(status, 401, "its exact Origin is what a plain connection proves");
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    assert_eq!(ask(&browser, "POST", "/v1/session", who()).await.0, 200);
    assert_eq!(browser.cookies().await, Vec::<Value>::new());
    assert_eq!(ask(&browser, "GET", "/v1/session", Value::Null).await.0, 401);
}

#[tokio::test]
async fn the_page_of_our_paths_shows_every_one_and_asks_nobody_else() {
    let Some(browser) = Browser::start().await else { return };
    let ward = Carelink::up().await;
    let home = format!("http://localhost:{}", ward.address().port());
    browser.open(&format!("{home}/docs")).await;
    let shown = browser
        .run(
            "for (let n = 0; n < 500 && !document.querySelector('.operation'); n++) await new Promise(done => setTimeout(done, 20));
             const api = await (await fetch('/openapi.json')).json();
             const all = Object.values(api.paths).flatMap(Object.values).map(one => one.operationId);
             const elsewhere = performance.getEntriesByType('resource').filter(one => !one.name.startsWith(location.origin)).length;
             return [all.filter(id => !document.getElementById(id)), all.length, elsewhere];",
            &[],
        )
        .await;
    assert!(shown[0] == json!([]) && shown[1].as_u64().unwrap() >= 16 && shown[2] == 0, "{shown}");
    let text = browser.text().await;
    for part in ["/v1/session", "Sign in", "credentials_invalid", "Needs an access token"] {
        let found = text.contains(part) || browser.run("return document.body.textContent.includes(args[0])", &[part.into()]).await == true;
        assert!(found, "{part} is not shown");
    }
}
