//! One request, one trace: from the client's header through HTTP, gRPC and SQL to the event in the trail, the answer and the log (A2).

use std::collections::HashMap;

use carelink_tests::{Carelink, PASSWORD, Start, eventually, otlp::Collector};
use http::Method;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";
/// People, as no span may know them.
const NAME: &str = "canary-amina";
const EMAIL: &str = "canary-mail@ward.example";

async fn ward(collector: &Collector) -> Carelink {
    let ward = Start::default().set("telemetry.otlp_endpoint", collector.endpoint()).up().await;
    ward.cli_with(&["user", "add", NAME, "--email", EMAIL, "--password-stdin"], PASSWORD).await.ok();
    ward
}

/// The names from a span up to the client's.
fn way_up(spans: &HashMap<Vec<u8>, Span>, from: &Span) -> Vec<String> {
    let mut way = vec![from.name.clone()];
    let mut at = from;
    while let Some(above) = spans.get(&at.parent_span_id) {
        way.push(above.name.clone());
        at = above;
    }
    assert_eq!(hex::encode(&at.parent_span_id), CLIENT_SPAN, "{} hangs in the air below {way:?}", at.name);
    way
}

#[tokio::test]
async fn a_sign_in_is_one_trace_from_the_client_to_the_trail() {
    let collector = Collector::start().await;
    let ward = ward(&collector).await;
    let traceparent = format!("00-{TRACE}-{CLIENT_SPAN}-01");
    let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    let body = json!({"username": NAME, "password": PASSWORD}).to_string();
    let answer = ward.ask(Method::POST, "/account/token/", &headers, body).await.expect(200);
    assert_eq!(answer.header("x-trace-id"), TRACE);

    const HTTP: &str = "POST /account/token/";
    let spans: HashMap<_, _> = eventually("the spans have been sent", async || {
        let spans = collector.trace(TRACE);
        spans.iter().any(|span| span.name == HTTP).then_some(spans)
    })
    .await
    .into_iter()
    .map(|span| (span.span_id.clone(), span))
    .collect();
    let named = |name: &str| spans.values().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    assert_eq!(named(HTTP).len(), 1);
    assert_eq!(way_up(&spans, &named(HTTP)[0]), [HTTP]);
    for rpc in ["/carelink.auth.v1.AuthService/VerifyPassword", "/carelink.token.v1.TokenService/CreateSession"] {
        let served: Vec<_> = named(rpc).into_iter().filter(|span| span.kind() == SpanKind::Server).collect();
        assert_eq!(served.len(), 1, "{rpc}: {:?}", spans.values().map(|span| &span.name).collect::<Vec<_>>());
        assert_eq!(way_up(&spans, &served[0]).last().unwrap(), HTTP);
        let below: Vec<_> = spans.values().filter(|span| way_up(&spans, span).iter().any(|name| name == rpc) && span.name != rpc).collect();
        assert!(!below.is_empty(), "no statement of {rpc} is in the trace");
    }

    let events = ward.whole_trail(&["--trace", TRACE]).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind()).collect();
    assert!(kinds.contains(&"sign_in.succeeded") && kinds.contains(&"session.started"), "{kinds:?}");
}

#[tokio::test]
async fn a_refusal_carries_its_trace_id_in_answer_and_trail() {
    let ward = Carelink::up().await;
    ward.add_user("amina21", PASSWORD, &[]).await;
    let refused = ward.post("/account/token/", &json!({"username": "amina21", "password": "wrong"})).await.expect(401);
    let trace = refused.header("x-trace-id").to_owned();
    let events = ward.whole_trail(&["--trace", &trace]).await;
    assert_eq!(events.iter().map(|event| event.kind()).collect::<Vec<_>>(), ["sign_in.failed"]);
    let elsewhere = ward.ask(Method::GET, "/nowhere", &[], "").await.expect(404);
    assert_eq!(elsewhere.json()["trace_id"], elsewhere.header("x-trace-id"));
    assert_eq!(elsewhere.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a2_no_span_knows_who_it_is_about() {
    let collector = Collector::start().await;
    let ward = ward(&collector).await;
    let amina = ward.sign_in(NAME, PASSWORD).await;
    let bearer = format!("Bearer {}", amina.held().access);
    let headers = [("authorization", bearer.as_str()), ("user-agent", "canary-agent")];
    ward.ask(Method::GET, "/account/me/?canary=canary-query", &headers, "").await.expect(200);
    amina.stays().await;
    ward.post("/account/token/", &json!({"username": "canary-nobody", "password": "canary-typed"})).await.expect(401);
    ward.cli(&["user", "disable", NAME, "--reason", "canary-reason"]).await.ok();
    ward.terminate().await; // flushes
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.name.contains("SetUserActive")), "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    let text = format!("{spans:?}");
    for part in amina.held().refresh.split('.').chain(amina.held().access.split('.')) {
        assert!(!text.contains(part));
    }
    let bare = text.replace("canary-test", "");
    if let Some(at) = bare.find("canary") {
        panic!("...{}", &bare[at.saturating_sub(100)..at + 100]);
    }
}

#[tokio::test]
async fn every_log_line_is_one_object_and_a_failure_s_has_the_trace_of_its_answer() {
    let ward = Start::default().set("telemetry.log", "debug,h2=info,hyper=info").up().await;
    let amina = ward.somebody("amina21").await;
    amina.is_in().await;
    // The table of sessions is gone for a moment: a failure of our own.
    ward.database("token").execute_batch("ALTER TABLE session RENAME TO hidden").unwrap();
    let failed = amina.refresh().await.unwrap_err();
    ward.database("token").execute_batch("ALTER TABLE hidden RENAME TO session").unwrap();
    assert!(failed.status >= 500, "{} {}", failed.status, failed.text());
    amina.stays().await;
    ward.terminate().await;
    let mut traced = 0;
    for line in ward.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["time"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
        traced += usize::from(line["level"] == "ERROR" && line["trace_id"] == failed.header("x-trace-id"));
    }
    assert_eq!(traced, 1, "a failure is logged once, under its trace: {}", ward.log());
    assert!(!failed.text().contains("hidden") && !failed.text().contains("session"), "{}", failed.text());
}
