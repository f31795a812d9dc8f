//! Other sites against somebody who is signed in, in a real browser: whatever their pages send along with the cookies, nothing happens
//! and nothing is read (B1, B2).

use std::net::SocketAddr;

use axum::{Router, response::Html, routing::get};
use carelink_tests::{Browser, Carelink, PASSWORD, eventually};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a page of another site tries, each once; gives what came of it.
const ATTACKS: &str = r#"
    const [ward, told] = args;
    const outcome = {};
    const note = async (name, attack) => {
        try { outcome[name] = await attack(); } catch (error) { outcome[name] = 'blocked'; }
    };
    const send = async (path, options) => {
        const answer = await fetch(ward + path, { credentials: 'include', ...options });
        return answer.type === 'opaque' ? 'unread' : `${answer.status} ${await answer.text()}`;
    };
    const simple = body => ({ method: 'POST', mode: 'no-cors', headers: { 'content-type': 'text/plain' }, body });
    const framed = form => new Promise(done => {
        const frame = document.createElement('iframe');
        frame.name = `frame${Math.random()}`;
        document.body.append(frame);
        form.target = frame.name;
        document.body.append(form);
        frame.onload = () => done('sent');
        form.submit();
    });
    const form = (path, kind, name, value) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', action: ward + path, enctype: kind });
        const field = document.createElement('input');
        Object.assign(field, { name, value });
        form.append(field);
        return form;
    };
    const element = (name, address) => new Promise(done => {
        const element = document.createElement(name);
        element.onload = () => done('loaded');
        element.onerror = () => done('blocked');
        element[name === 'link' ? 'href' : 'src'] = address;
        if (name === 'link') element.rel = 'stylesheet';
        document.body.append(element);
    });
    const credentials = JSON.stringify({ username: told.name, password: told.password, cookies: true });
    await note('read who it is', () => send('/v1/session', {}));
    await note('read the sessions', () => send('/v1/sessions', {}));
    await note('sign out', () => send('/v1/session', { method: 'DELETE' }));
    await note('sign out everywhere', () => send('/v1/sessions', { method: 'DELETE' }));
    await note('refresh', () => send('/v1/session/refresh', simple('')));
    await note('refresh as JSON', () => send('/v1/session/refresh', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }));
    await note('change the password', () => send('/v1/password', simple('{}')));
    await note('sign in as somebody else', () => send('/v1/session', simple(credentials)));
    await note('refresh without a body', () => send('/v1/session/refresh', { method: 'POST', mode: 'no-cors' }));
    await note('refresh by an empty beacon', () => String(navigator.sendBeacon(ward + '/v1/session/refresh')));
    await note('refresh by a beacon', () => String(navigator.sendBeacon(ward + '/v1/session/refresh', '')));
    for (const kind of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
        await note(`refresh by a form, ${kind}`, () => framed(form('/v1/session/refresh', kind, 'a', 'b')));
        const [head, tail] = [credentials.slice(0, -1) + ',"device":"', '"}'];
        await note(`sign in by a form, ${kind}`, () => framed(form('/v1/session', kind, head, tail)));
    }
    for (const name of ['img', 'script', 'link', 'iframe']) await note(`embed as ${name}`, () => element(name, ward + '/v1/session'));
    return outcome;
"#;

/// A site of somebody else's on this machine, with an empty page.
async fn other_site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(get(async || Html("<!doctype html><title>elsewhere</title><body></body>")));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Who the ward's own page is told it is.
async fn who(browser: &Browser, ward: &str) -> Value {
    browser.open(&format!("{ward}/docs")).await;
    browser.run("const answer = await fetch('/v1/session'); return [answer.status, await answer.json()]", &[]).await
}

#[tokio::test]
async fn b2_no_other_site_does_anything_in_the_name_of_who_is_signed_in() {
    let Some(browser) = Browser::start().await else { return };
    let ward = Carelink::unlimited().await;
    for name in ["amina21", "mallory"] {
        ward.add_user(name, PASSWORD, &["nurse"]).await;
    }
    let (own, elsewhere) = (format!("http://localhost:{}", ward.address().port()), other_site().await);
    browser.open(&format!("{own}/docs")).await;
    let body = json!({"username": "amina21", "password": PASSWORD, "cookies": true});
    let sign_in = "const answer = await fetch('/v1/session', { method: 'POST', headers: { 'content-type': 'application/json' }, \
                   body: JSON.stringify(args[0]) }); return answer.status";
    assert_eq!(browser.run(sign_in, &[body]).await, json!(200));
    let before = who(&browser, &own).await;
    assert_eq!((&before[0], &before[1]["username"]), (&json!(200), &json!("amina21")), "{before}");
    assert_eq!(browser.run("return document.cookie", &[]).await, json!(""), "no script sees a cookie");
    let trail = ward.whole_trail(&["--type", "s*"]).await.len();

    // Another site, and a neighbour: the same site for cookies, on another port.
    for site in ["evil.example", "localhost"] {
        let page = format!("http://{site}:{}/", elsewhere.port());
        browser.open(&page).await;
        let outcome = browser.run(ATTACKS, &[json!(own), json!({"name": "mallory", "password": PASSWORD})]).await;
        let outcome = outcome.as_object().unwrap_or_else(|| panic!("{page}: {outcome}"));
        assert!(outcome.len() >= 19, "{outcome:?}");
        for (attack, came_of_it) in outcome {
            let read = came_of_it.as_str().unwrap();
            assert!(["blocked", "unread", "sent", "loaded", "true"].contains(&read), "{page} could {attack}: {read}");
        }
        // As where somebody is led to: it is another site's link, and comes without what proves anything.
        if site == "evil.example" {
            let lead = "const link = document.createElement('a'); link.href = args[0]; link.id = 'link'; link.innerText = 'here'; \
                        document.body.append(link);";
            browser.run(lead, &[json!(format!("{own}/v1/session"))]).await;
            browser.click("#link").await;
            let shown = eventually("the link was followed", async || Some(browser.text().await).filter(|text| text.contains("code"))).await;
            assert!(shown.contains("token_missing"), "{shown}");
        }
        assert_eq!(who(&browser, &own).await, before, "{page}: somebody else, or signed out");
        let after = ward.whole_trail(&["--type", "s*"]).await;
        assert_eq!(after.len(), trail, "{page}: {:?}", after.last());
    }
    // A name that leads here and is not ours: no page of it is served.
    browser.open(&format!("http://rebound.example:{}/v1/session", ward.address().port())).await;
    let shown = browser.text().await;
    assert!(shown.contains("host_not_allowed"), "{shown}");
}
