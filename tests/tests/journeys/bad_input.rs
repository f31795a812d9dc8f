//! Everything wrong that can be sent, to every operation that the document of our HTTP (/openapi.json) knows: what comes back is never a
//! failure of ours, and never anything that the document does not tell of.
//!
//! Twice: one thing wrong at a time, of a list made by people, as everybody who may call; and whatever schemathesis thinks of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use carelink_tests::{Answer, Carelink, PASSWORD, Person, Start, cli::clean, figure};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::long;

const DOCUMENT: &str = "/openapi.json";
/// Who asks: nobody, and somebody of each kind.
const CALLERS: [Option<&str>; 4] = [None, Some("nurse"), Some("auditor"), Some("admin")];
/// Methods that a path may have, and some that none has.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "GETT"];

/// An operation of the document.
#[derive(Clone, Debug)]
struct Operation {
    path: String,
    method: Method,
    about: Value,
}

/// The document, and all that it tells of.
struct Document(Value);

impl Document {
    async fn of(ward: &Carelink) -> Self {
        Self(ward.ask(Method::GET, DOCUMENT, &[], "").await.expect(200).json())
    }

    /// What is meant, where something is named elsewhere.
    fn meant<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"]
            .as_str()
            .map_or(value, |name| self.0.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is not there")))
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &Value)| {
            let operations = item.as_object().unwrap().iter().filter(|(method, _)| METHODS.contains(&method.to_uppercase().as_str()));
            let one = |(method, about): (&String, &Value)| Operation {
                path: path.clone(),
                method: method.to_uppercase().parse().unwrap(),
                about: about.clone(),
            };
            operations.map(one).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    /// Why this is no answer that the document tells of.
    fn wrong(&self, operation: &Operation, answer: &Answer) -> Option<String> {
        if answer.status >= 500 {
            return Some("a failure of ours".into());
        }
        if answer.header("x-trace-id").len() != 32 {
            return Some("no trace id".into());
        }
        let Some(told) = operation.about["responses"].get(answer.status.to_string()) else {
            return Some("not in the document".into());
        };
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        let content = self.meant(told)["content"].as_object();
        let fits = match content {
            None => answer.body.is_empty(),
            Some(content) => content.contains_key(kind) || operation.method == Method::HEAD,
        };
        (!fits).then(|| format!("the document does not tell of {kind:?} with it"))
    }
}

/// What is sent, beside the operation itself.
#[derive(Clone, Debug, Default)]
struct Sent {
    what: String,
    query: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

fn header(name: &'static str, value: impl Into<Vec<u8>>) -> Sent {
    let value = value.into();
    let what = format!("{name}: {}", String::from_utf8_lossy(&value[..value.len().min(60)]));
    Sent { what, headers: vec![("content-type", b"application/json".to_vec()), (name, value)], body: b"{}".to_vec(), ..Sent::default() }
}

fn query(text: &str) -> Sent {
    Sent { what: format!("?{}", &text[..text.len().min(60)]), query: text.to_owned(), ..Sent::default() }
}

fn body(kind: &str, body: impl Into<Vec<u8>>) -> Sent {
    let body = body.into();
    let what = format!("{kind}: {} ({} bytes)", String::from_utf8_lossy(&body[..body.len().min(60)]), body.len());
    Sent { what, headers: vec![("content-type", kind.as_bytes().to_vec())], body, ..Sent::default() }
}

/// One thing wrong at a time.
fn everything_wrong() -> Vec<Sent> {
    let long = "x".repeat(20_000);
    let mut all = vec![Sent { what: "nothing".into(), ..Sent::default() }];
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:80:80", "user@localhost", "local host"]
    {
        all.push(header("host", host));
    }
    for accept in ["text/xml", "nonsense", "*/*;q=0", "application/json;q=x", ""] {
        all.push(header("accept", accept));
    }
    for encoding in ["gzip", "br", "nonsense", "gzip, gzip", "identity", ""] {
        all.push(header("content-encoding", encoding));
        all.push(header("accept-encoding", encoding));
    }
    for language in ["xx", "*", "\u{fc}"] {
        all.push(header("accept-language", language));
    }
    for token in
        ["", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic YTpi", "bearer\tx", "Bearer x y", "Digest a=b", "\u{fc}", &long]
    {
        all.push(header("authorization", token));
    }
    for cookie in [
        "",
        "=",
        ";",
        "a",
        "a=b; a=c",
        "__Host-carelink=x",
        "__Host-carelink-refresh=x.y.z; __Host-carelink-access=a.b.c",
        "a=\"",
        "\u{fc}=\u{fc}",
        &long,
    ] {
        all.push(header("cookie", cookie));
    }
    all.push(header("cookie", (0..300).map(|n| format!("c{n}=v; ")).collect::<String>()));
    for origin in ["null", "https://evil.example", "http://localhost", "nonsense", ""] {
        all.push(header("origin", origin));
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        all.push(header("sec-fetch-site", site));
    }
    for forwarded in ["1.2.3.4", "for=\"[::1]\";proto=https", "nonsense", "\u{0}\u{1}", &long] {
        let bytes: Vec<u8> = forwarded.bytes().filter(|byte| *byte >= 32).collect();
        all.extend(
            ["x-forwarded-for", "x-forwarded-proto", "forwarded", "x-real-ip", "x-forwarded-host"].map(|name| header(name, bytes.clone())),
        );
    }
    for name in [
        "traceparent",
        "tracestate",
        "baggage",
        "if-none-match",
        "if-modified-since",
        "range",
        "idempotency-key",
        "user-agent",
        "x-http-method-override",
    ] {
        for value in ["nonsense", "", "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-ff", "bytes=0-0", "DELETE"] {
            all.push(header(name, value));
        }
    }
    all.push(header("expect", "200-ok"));
    for text in [
        "cursor=x",
        "cursor=",
        "cursor=%00",
        "cursor=%ff%fe",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAA",
        "cursor=a&cursor=b",
        "limit=0",
        "limit=-1",
        "limit=1e3",
        "limit=99999999999999999999",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "nonsense=1",
        "%",
        "%zz=1",
        "&&&==",
        "a[]=1&a[b]=2",
        "since=x",
        "until=-1",
        "type=%00",
        "type=*",
        "user=%c3%28",
        "user=\u{27}%20OR%201=1--",
        "role=",
        "order=x",
        "..%2f..%2fetc/passwd",
    ] {
        all.push(query(text));
    }
    all.push(query(&format!("cursor={long}")));
    all.push(query(&"a=1&".repeat(2_000)));
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    for kind in [
        "application/json",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "text/plain",
        "text/xml",
        "nonsense",
        "application/problem+json",
        "",
    ] {
        for text in ["", "{", "nonsense", "null", "[]", "\"text\"", "17", "{}", "{}{}", "{\"a\":1,\"a\":2}", "a=b&a=c", "--x\r\n\r\n--x--"]
        {
            all.push(body(kind, text));
        }
        all.push(body(kind, &b"\xff\xfe\x00"[..]));
        all.push(body(kind, &b"\xef\xbb\xbf{}"[..]));
    }
    all.push(body("application/json", deep));
    all.push(body("application/json", " ".repeat(10 << 20)));
    all.push(body(
        "application/json",
        format!(
            "{{\"username\": \"{long}\", \"password\": \"{long}\", \"refresh\": \"{long}\", \"token\": \"{long}\", \"reason\": \"{long}\"}}"
        ),
    ));
    for value in [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(""),
        json!(0),
        json!(-1.5),
        json!(1e300),
        json!("a\u{0}b"),
        json!("\u{202e}"),
        json!(["a"]),
    ] {
        let fields = [
            "username",
            "password",
            "refresh",
            "token",
            "current_password",
            "new_password",
            "reason",
            "roles",
            "active",
            "device",
            "id",
            "session",
        ];
        let all_of_them: serde_json::Map<String, Value> = fields.iter().map(|field| ((*field).to_owned(), value.clone())).collect();
        all.push(body("application/json", Value::Object(all_of_them).to_string()));
    }
    all
}

/// Values for what a path has between braces.
const IDS: [&str; 7] = ["0", "1", "-1", "nonsense", "00000000-0000-0000-0000-000000000000", "%00", "..%2f"];

/// A path with a value in each of its places.
fn filled(path: &str, value: &str) -> String {
    let mut parts = path.split('{');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + value + part.split_once('}').unwrap().1)
}

/// Sessions of everybody who asks; whoever ended theirs gets another.
struct Callers<'a> {
    ward: &'a Carelink,
    tokens: Vec<Option<String>>,
}

impl<'a> Callers<'a> {
    async fn of(ward: &'a Carelink) -> Self {
        for role in CALLERS.into_iter().flatten() {
            ward.add_user(role, PASSWORD, &[role]).await;
        }
        let mut callers = Self { ward, tokens: Vec::new() };
        callers.sign_in().await;
        callers
    }

    async fn sign_in(&mut self) {
        self.tokens.clear();
        for role in CALLERS {
            let token = match role {
                Some(role) => Some(self.ward.sign_in(role, PASSWORD).await.held().access),
                None => None,
            };
            self.tokens.push(token);
        }
    }
}

async fn send(ward: &Carelink, method: &Method, path: &str, token: Option<&String>, sent: &Sent) -> Answer {
    let path = if sent.query.is_empty() { path.to_owned() } else { format!("{path}?{}", sent.query) };
    let mut headers = HeaderMap::new();
    for (name, value) in &sent.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    if let Some(token) = token {
        headers.entry(AUTHORIZATION).or_insert(HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    }
    ward.ask_with(method.clone(), &path, headers, sent.body.clone()).await
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_the_answer_is_in_the_document() {
    let ward = Start::default().unlimited().up().await;
    let (document, all) = (Document::of(&ward).await, everything_wrong());
    let mut callers = Callers::of(&ward).await;
    let (mut asked, mut wrong) = (0, BTreeMap::<String, String>::new());
    for operation in document.operations() {
        for (at, sent) in all.iter().enumerate() {
            let path = filled(&operation.path, IDS[at % IDS.len()]);
            // Where there is no time for all of them, one after the other.
            let who = if long() || at == 0 { 0..CALLERS.len() } else { at % CALLERS.len()..at % CALLERS.len() + 1 };
            for who in who {
                let answer = send(&ward, &operation.method, &path, callers.tokens[who].as_ref(), sent).await;
                asked += 1;
                if let Some(why) = document.wrong(&operation, &answer) {
                    let kind = format!("{} {}: {} {why}", operation.method, operation.path, answer.status);
                    wrong.entry(kind).or_insert_with(|| format!("{:?}, {}: {}", CALLERS[who], sent.what, answer.text()));
                }
                if answer.status < 300 && operation.method != Method::GET {
                    callers.sign_in().await;
                }
            }
        }
    }
    figure(&format!("{asked} requests with something wrong: {} kinds of answers that the document does not tell of", wrong.len()));
    assert!(wrong.is_empty(), "{wrong:#?}");
    still_serves(&ward).await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_said_with_those_that_it_has() {
    let ward = Start::default().unlimited().up().await;
    let document = Document::of(&ward).await;
    let mut callers = Callers::of(&ward).await;
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in document.operations() {
        paths.entry(operation.path).or_default().insert(operation.method.to_string());
    }
    for (path, has) in &paths {
        for method in METHODS.into_iter().filter(|method| !has.contains(*method) && *method != "HEAD") {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for token in &callers.tokens {
                let answer = send(&ward, &method, &filled(path, "1"), token.as_ref(), &everything_wrong()[0]).await;
                assert!([401, 405].contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
                if answer.status == 405 {
                    let allow: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
                    assert!(has.is_subset(&allow), "{method} {path}: allow: {allow:?}, and it has {has:?}");
                }
            }
        }
    }
    callers.sign_in().await;
    still_serves(&ward).await;
}

/// schemathesis, where `tests/run` could install it.
fn schemathesis() -> Option<PathBuf> {
    let path = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("venv/bin/st");
    if !path.exists() {
        println!("SKIPPED: no schemathesis here (tests/run installs it)");
    }
    path.exists().then_some(path)
}

#[tokio::test]
async fn whatever_schemathesis_thinks_of_the_answer_is_in_the_document() {
    const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                          response_schema_conformance,unsupported_method,allow_header_conformance";
    let Some(program) = schemathesis() else { return };
    let ward = Start::default().unlimited().up().await;
    let callers = Callers::of(&ward).await;
    let url = format!("http://{}", ward.address());
    let of_whom = if long() { vec![0, 1, 2, 3] } else { vec![0, 3] };
    for who in of_whom {
        let mut run = clean(Command::new(&program));
        run.args(["run", &format!("{url}{DOCUMENT}"), "--url", &url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]);
        run.args(["--max-examples", if long() { "500" } else { "15" }, "--seed", "1", "--workers", "1", "--continue-on-failure"]);
        run.args(["--suppress-health-check", "all", "--request-timeout", "60", "--output-sanitize", "false"]);
        if let Some(token) = &callers.tokens[who] {
            run.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let home = ward.scratch().join(format!("schemathesis-{who}"));
        std::fs::create_dir(&home).unwrap();
        run.current_dir(&home).env("HOME", &home).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        let output = timeout(Duration::from_secs(3_600), run.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "as {:?}:\n{said}\n{}", CALLERS[who], String::from_utf8_lossy(&output.stderr));
        let summary = said.lines().filter(|line| line.contains("generated") || line.contains("passed")).collect::<Vec<_>>().join(", ");
        figure(&format!("schemathesis as {}: {}", CALLERS[who].unwrap_or("nobody"), summary.trim()));
    }
    still_serves(&ward).await;
}

async fn still_serves(ward: &Carelink) {
    let amina: Person<'_> = ward.somebody("amina21").await;
    amina.is_in().await;
    amina.stays().await;
    let log = ward.log();
    assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
    assert_eq!(ward.metrics().await.sum("carelink_http_requests_total", &["status=\"5"]), 0.0);
}
