//! Forward auth behind Debian's nginx, by the files in deploy/nginx: who passes, and what the service behind it is told.

use std::{fs, path::Path};

use carelink_servers::Nginx;
use carelink_tests::{Answer, Carelink, Http, PASSWORD, Start, eventually, typed::root};
use http::Method;
use serde_json::json;

/// The site of deploy/nginx/example.conf without TLS, in front of this CareLink and of an app that says what it was told.
fn site(carelink: &str, port: u16, dir: &Path) -> String {
    let example = fs::read_to_string(root().join("deploy/nginx/example.conf")).unwrap();
    let app = format!("unix:{}", dir.join("app.sock").display());
    let mut site = example
        .replace("server 127.0.0.1:8000;", &format!("server {carelink};"))
        .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{port};"))
        .replace("server_name ward.example;", "")
        .replace("/etc/carelink/nginx/", &format!("{}/", root().join("deploy/nginx").display()))
        .replace("http://127.0.0.1:3000", &format!("http://{app}"));
    site = site.lines().filter(|line| !line.trim_start().starts_with("ssl_")).collect::<Vec<_>>().join("\n");
    let told = "$http_x_auth_subject|$http_x_auth_user_id|$http_x_auth_session|$http_x_auth_roles|$http_x_auth_amr|$http_x_auth_expires";
    format!("{site}\nserver {{ listen {app}; location / {{ return 200 \"$request_method|$content_length|{told}\"; }} }}\n")
}

struct Site {
    nginx: Nginx,
    http: Http,
}

impl Site {
    async fn before(ward: &Carelink) -> Self {
        let carelink = ward.address().to_string();
        Self { nginx: Nginx::start(move |port, dir| site(&carelink, port, dir)).await, http: Http::default() }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.nginx.port());
        self.http.ask(method, &url, headers, body.to_owned()).await.unwrap()
    }
}

async fn ward() -> Carelink {
    Start::default().set("gateway.trusted_proxies", "127.0.0.1").up().await
}

#[tokio::test]
async fn behind_nginx_only_who_is_signed_in_passes_and_the_service_is_told_who() {
    let ward = ward().await;
    let amina = ward.somebody("amina21").await;
    let site = Site::before(&ward).await;
    let bearer = format!("Bearer {}", amina.held().access);
    let me = amina.me().await.json();
    let forged = [
        ("authorization", bearer.as_str()),
        ("x-auth-roles", "admin"),
        ("x-auth-subject", "somebody-else"),
        ("x-auth-user-id", "1"),
        ("x-original-method", "GET"),
        ("x_auth_roles", "admin"),
    ];
    let passed = site.ask(Method::GET, "/chart?x=1", &forged, "").await.expect(200).text();
    let told: Vec<&str> = passed.split('|').collect();
    assert_eq!(
        (told[0], told[3], told[4], told[5], told[6]),
        ("GET", me["id"].to_string().as_str(), amina.held().session().as_str(), "nurse", "pwd")
    );
    assert!(told[2].len() == 36 && told[7].parse::<u64>().is_ok(), "{passed}");
    let posted = site.ask(Method::POST, "/chart", &forged, "a body of its own").await.expect(200).text();
    assert!(posted.starts_with("POST|17|"), "the service gets what was sent: {posted}");

    for headers in [
        &[][..],
        &[("x-auth-subject", "x"), ("x-auth-roles", "admin")],
        &[("authorization", "Bearer nonsense")],
        &[("authorization", "Basic YTpi")],
    ] {
        let refused = site.ask(Method::GET, "/chart", headers, "").await.expect(401);
        assert!(refused.header("www-authenticate").starts_with("Bearer"), "{headers:?}");
    }
    site.ask(Method::GET, "/doctors/rounds", &[("authorization", &bearer)], "").await.expect(403);
    ward.cli(&["user", "roles", "amina21", "--add", "doctor"]).await.ok();
    amina.stays().await;
    let bearer = format!("Bearer {}", amina.held().access);
    let passed = site.ask(Method::GET, "/doctors/rounds", &[("authorization", &bearer)], "").await.expect(200).text();
    assert!(passed.contains("|doctor,nurse|"), "{passed}");
    site.ask(Method::GET, "/_carelink/verify", &[("authorization", &bearer)], "").await.expect(404);

    amina.sign_out().await.expect(200);
    eventually("the session is refused", async || {
        (site.ask(Method::GET, "/chart", &[("authorization", &bearer)], "").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn b2_behind_nginx_a_cookie_changes_something_only_for_our_own_pages() {
    let ward = ward().await;
    ward.add_user("amina21", PASSWORD, &["nurse"]).await;
    let site = Site::before(&ward).await;
    let ours = ("sec-fetch-site", "same-origin");
    let json = ("content-type", "application/json");
    let body = json!({"username": "amina21", "password": PASSWORD, "cookies": true}).to_string();
    site.ask(Method::POST, "/v1/session", &[json], &body).await.expect(403);
    let signed_in = site.ask(Method::POST, "/v1/session", &[json, ours], &body).await.expect(200);
    let given: Vec<&str> = signed_in.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    let cookie = given.iter().find_map(|cookie| cookie.starts_with("__Host-carelink=").then(|| cookie.split(';').next().unwrap())).unwrap();

    let held = ("cookie", cookie);
    assert!(site.ask(Method::GET, "/chart", &[held], "").await.expect(200).text().contains("|nurse|"));
    site.ask(Method::GET, "/chart", &[held, ("sec-fetch-site", "cross-site")], "").await.expect(200);
    let origin = format!("http://127.0.0.1:{}", site.nginx.port());
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        site.ask(method.clone(), "/chart", &[held, ours], "").await.expect(200);
        site.ask(method.clone(), "/chart", &[held, ("origin", &origin)], "").await.expect(200);
        for foreign in [&[held][..], &[held, ("sec-fetch-site", "cross-site")], &[held, ("origin", "http://evil.example")]] {
            site.ask(method.clone(), "/chart", foreign, "").await.expect(403);
        }
        site.ask(method.clone(), "/chart", &[held, ("x-original-method", "GET"), ("x-forwarded-method", "GET")], "").await.expect(403);
    }
    site.ask(Method::DELETE, "/v1/session", &[held, ours], "").await.expect(204);
    eventually("the session is refused", async || (site.ask(Method::GET, "/chart", &[held], "").await.status == 401).then_some(())).await;
}

#[tokio::test]
async fn v3_behind_nginx_who_cannot_be_judged_is_told_to_try_again() {
    let ward = ward().await;
    let amina = ward.somebody("amina21").await;
    let site = Site::before(&ward).await;
    let bearer = format!("Bearer {}", amina.held().access);
    site.ask(Method::GET, "/chart", &[("authorization", &bearer)], "").await.expect(200);
    ward.terminate().await;
    let refused = site.ask(Method::GET, "/chart", &[("authorization", &bearer)], "").await.expect(503);
    assert_eq!(refused.header("retry-after"), "1");
}
