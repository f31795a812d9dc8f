//! Idle logoff (S12), sessions that others take the place of, and a user's own sessions.

use std::{sync::Arc, time::Duration};

use carelink_platform::errors::Reason;
use carelink_proto::token::{
    Activity, CreateSessionRequest, ListSessionsRequest, Others, ReportActivityRequest, RevokeSessionsRequest, Session, SessionMode,
    TokenPair, revoke_sessions_request::Target,
};
use token_service::Config;
use uuid::Uuid;

use crate::bench::{Bench, START, as_user, bench, bench_with, reason};

const COOKIES: i32 = SessionMode::Cookies as i32;

async fn sign_in(bench: &Bench, user: u8, mode: i32) -> (TokenPair, Vec<u8>) {
    create(bench, user, |request| request.mode = mode).await
}

async fn create(bench: &Bench, user: u8, change: impl FnOnce(&mut CreateSessionRequest)) -> (TokenPair, Vec<u8>) {
    let mut request = CreateSessionRequest { assertion: bench.assertion(Bench::subject(user, 1, &[])), ..Default::default() };
    change(&mut request);
    let answer = bench.gateway().create_session(request).await.unwrap().into_inner();
    (answer.tokens.unwrap(), answer.session)
}

/// A verifier's report: of these sessions, now; `missing` seconds of what it saw are not in it.
async fn report(bench: &Bench, verifier: u8, used: &[(&[u8], u64)], missing: i64) {
    let now = bench.app.clock().now().as_micros();
    let activity = |(session, generation): &(&[u8], u64)| Activity { session: session.to_vec(), generation: *generation, active_us: now };
    let request = ReportActivityRequest {
        reporter: vec![verifier; 16],
        activities: used.iter().map(activity).collect(),
        complete_until_us: now - missing * 1_000_000,
        trusted_for_us: 300_000_000,
    };
    bench.client("gateway").report_activity(request).await.unwrap();
}

async fn listed(bench: &Bench, id: &[u8]) -> Session {
    let request = ListSessionsRequest { include_ended: true, ..Default::default() };
    let sessions = bench.operator().list_sessions(request).await.unwrap().into_inner().sessions;
    sessions.into_iter().find(|session| session.id == id).unwrap()
}

async fn ended(bench: &Bench, id: &[u8]) -> String {
    listed(bench, id).await.end_reason
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_browsers_session_that_nobody_uses_ends_two_minutes_past_the_limit_however_often_it_is_refreshed() {
    let bench = bench().await;
    let (browser, idle) = sign_in(&bench, 1, COOKIES).await;
    let (_, used) = sign_in(&bench, 1, COOKIES).await;
    let (_, bearer) = sign_in(&bench, 1, 0).await;
    assert_eq!(listed(&bench, &idle).await.idle_us, (START + 1_800) * 1_000_000);
    bench.hand.advance(Duration::from_secs(1_800));
    let browser = bench.refresh(&browser.refresh_token).await.unwrap();
    report(&bench, 1, &[(&used, 0)], 0).await;
    bench.hand.advance(Duration::from_secs(119));
    report(&bench, 1, &[], 0).await;
    assert_eq!(bench.sweep().await.0, 0);
    bench.hand.advance(Duration::from_secs(1));
    assert_eq!(bench.sweep().await.0, 1);
    assert_eq!(
        (ended(&bench, &idle).await, ended(&bench, &used).await, ended(&bench, &bearer).await),
        ("idle".into(), "".into(), "".into())
    );
    assert_eq!(bench.refresh(&browser.refresh_token).await, Err(Reason::SessionRevoked));
    let events = bench.events_of(Uuid::from_slice(&idle).unwrap()).await;
    assert_eq!(events.last().unwrap().reason, "idle");
    assert_eq!(listed(&bench, &bearer).await.idle_us, 0, "off");
    report(&bench, 1, &[(&bearer, 0)], 0).await;
    assert_eq!((listed(&bench, &bearer).await.last_active_us, listed(&bench, &bearer).await.idle_us), ((START + 1_920) * 1_000_000, 0));
    let session = listed(&bench, &used).await;
    assert_eq!((session.last_active_us, session.idle_us), ((START + 1_800) * 1_000_000, (START + 3_600) * 1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_idleness_ends_nothing_while_a_verifier_that_may_accept_tokens_has_not_told_what_it_saw() {
    let bench = bench().await;
    let (_, id) = sign_in(&bench, 1, COOKIES).await;
    bench.hand.advance(Duration::from_secs(3_600));
    assert_eq!(bench.sweep().await.0, 0, "no verifier has ever told anything");
    report(&bench, 1, &[], 0).await;
    report(&bench, 2, &[], 100).await;
    assert_eq!(bench.sweep().await.0, 0, "one has told all but the last minutes");
    bench.hand.advance(Duration::from_secs(299));
    report(&bench, 1, &[], 0).await;
    assert_eq!(bench.sweep().await.0, 0, "and may still accept tokens");
    bench.hand.advance(Duration::from_secs(2));
    report(&bench, 1, &[], 0).await;
    assert_eq!((bench.sweep().await.0, ended(&bench, &id).await), (1, "idle".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_what_a_page_does_in_the_background_keeps_nobody_signed_in() {
    let bench = bench().await;
    let (pair, id) = sign_in(&bench, 1, COOKIES).await;
    let next = bench.refresh(&pair.refresh_token).await.unwrap();
    bench.hand.advance(Duration::from_secs(60));
    let seen = Activity { session: id.clone(), generation: 1, active_us: 0 };
    let request = ReportActivityRequest { reporter: vec![1; 16], activities: vec![seen; 3], ..Default::default() };
    bench.client("auth-service").report_activity(request).await.unwrap();
    assert_eq!(listed(&bench, &id).await.last_active_us, START * 1_000_000);
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionReused), "but its successor was used");
    assert_eq!(bench.refresh(&next.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_tablet_that_slept_through_the_answer_is_forgiven_and_a_bearer_is_not() {
    let bench = bench().await;
    for (mode, forgiven) in [(COOKIES, true), (0, false)] {
        let (pair, id) = sign_in(&bench, 1, mode).await;
        report(&bench, 1, &[(&id, 0)], 0).await;
        let lost = bench.refresh(&pair.refresh_token).await.unwrap();
        bench.hand.advance(Duration::from_secs(1_200));
        let again = bench.refresh(&pair.refresh_token).await;
        match forgiven {
            true => assert_eq!(again.unwrap().refresh_token, lost.refresh_token),
            false => assert_eq!(again, Err(Reason::SessionReused)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_reports_of_what_is_not_there_change_nothing_and_are_bounded() {
    let mut config = Config::default();
    config.session.idle_timeout = Duration::from_secs(600);
    let bench = bench_with(config).await;
    let (_, id) = sign_in(&bench, 1, 0).await;
    let before = listed(&bench, &id).await;
    assert_eq!(before.idle_us, (START + 600) * 1_000_000, "by config for bearers too");
    report(&bench, 1, &[(&id, 7), (&[9; 16], 0)], 0).await;
    assert_eq!(listed(&bench, &id).await, before, "no such generation yet");
    let tell = |activities: Vec<Activity>, reporter: usize| {
        let request = ReportActivityRequest { reporter: vec![1; reporter], activities, ..Default::default() };
        let mut client = bench.internal("billing");
        async move { client.report_activity(request).await.map(drop).map_err(|status| reason(&status)) }
    };
    let ahead = Activity { session: id.clone(), generation: 0, active_us: i64::MAX };
    tell(vec![ahead.clone()], 16).await.unwrap();
    assert_eq!(listed(&bench, &id).await.last_active_us, START * 1_000_000, "nobody was active tomorrow");
    assert_eq!(tell(vec![ahead.clone(); 501], 16).await, Err(Reason::InputInvalid));
    assert_eq!(tell(vec![], 3).await, Err(Reason::InputInvalid));
    assert_eq!(tell(vec![Activity { session: vec![], ..ahead }], 16).await, Err(Reason::InputInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_many_reports_at_once_neither_fail_nor_hold_up_refreshes() {
    let bench = Arc::new(bench().await);
    let mut sessions = Vec::new();
    for _ in 0..40 {
        sessions.push(sign_in(&bench, 1, COOKIES).await);
    }
    bench.hand.advance(Duration::from_secs(90));
    let ids: Arc<Vec<Vec<u8>>> = Arc::new(sessions.iter().map(|(_, id)| id.clone()).collect());
    let reports = (0..8_u8).map(|verifier| {
        let (bench, ids) = (Arc::clone(&bench), Arc::clone(&ids));
        tokio::spawn(async move {
            let mut used: Vec<(&[u8], u64)> = ids.iter().map(|id| (id.as_slice(), 0)).collect();
            used.rotate_left(usize::from(verifier) * 5);
            report(&bench, verifier, &used, 0).await;
        })
    });
    let reports: Vec<_> = reports.collect();
    for (pair, _) in &sessions {
        bench.refresh(&pair.refresh_token).await.unwrap();
    }
    for report in reports {
        report.await.unwrap();
    }
    for id in ids.iter() {
        assert_eq!(listed(&bench, id).await.last_active_us, (START + 90) * 1_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_sign_in_takes_the_place_of_the_session_that_the_browser_held() {
    let bench = bench().await;
    let (old, id) = sign_in(&bench, 1, COOKIES).await;
    let old = bench.refresh(&old.refresh_token).await.unwrap();
    let (other, _) = sign_in(&bench, 2, COOKIES).await;
    let (new, _) = create(&bench, 3, |request| request.replaces_refresh_token.clone_from(&old.refresh_token)).await;
    assert_eq!(ended(&bench, &id).await, "replaced");
    assert_eq!(bench.refresh(&old.refresh_token).await, Err(Reason::SessionReplaced));
    assert_eq!(bench.introspect(&old.access_token).await, (false, "session_replaced".into()));
    for token in [old.refresh_token, "garbage".into(), new.access_token.clone()] {
        create(&bench, 3, |request| request.replaces_refresh_token = token).await;
    }
    bench.refresh(&new.refresh_token).await.unwrap();
    bench.refresh(&other.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_no_more_sessions_than_they_may_and_the_oldest_ends_also_where_many_begin_at_once() {
    let mut config = Config::default();
    config.session.max_per_user = 3;
    let bench = Arc::new(bench_with(config).await);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(sign_in(&bench, 1, 0).await.1);
        bench.hand.advance(Duration::from_secs(1));
    }
    let (_, of_another) = sign_in(&bench, 2, 0).await;
    let mut reasons = Vec::new();
    for id in &ids {
        reasons.push(ended(&bench, id).await);
    }
    assert_eq!(reasons, ["cap", "cap", "", "", ""]);
    let many = (0..12).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { sign_in(&bench, 1, 0).await })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let live = bench.operator().list_sessions(ListSessionsRequest::default()).await.unwrap().into_inner().sessions;
    assert_eq!((live.len(), live.iter().filter(|session| session.id == of_another).count()), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_and_ends_their_own_sessions_and_nobody_elses() {
    let bench = bench().await;
    let (here, id) = create(&bench, 1, |request| request.device = "Firefox on Linux".into()).await;
    let (there, there_id) = sign_in(&bench, 1, COOKIES).await;
    let (third, _) = sign_in(&bench, 1, 0).await;
    let (stranger, strange) = sign_in(&bench, 2, 0).await;
    let list = |subject: Vec<u8>| {
        let request = as_user(&here, ListSessionsRequest { subject, ..Default::default() });
        let mut gateway = bench.gateway();
        async move { gateway.list_sessions(request).await.map(|answer| answer.into_inner().sessions).map_err(|status| reason(&status)) }
    };
    let own = list(vec![]).await.unwrap();
    assert_eq!((own.len(), own.iter().find(|session| session.current).unwrap().device.as_str()), (3, "Firefox on Linux"));
    assert_eq!(own.iter().find(|session| session.id == there_id).unwrap().mode(), SessionMode::Cookies);
    assert_eq!(list(vec![1; 16]).await.unwrap().len(), 3);
    assert_eq!(list(vec![2; 16]).await, Err(Reason::RoleRequired));
    let end = |pair: &TokenPair, target: Target| {
        let request = as_user(pair, RevokeSessionsRequest { target: Some(target), reason: String::new() });
        let mut gateway = bench.gateway();
        async move { gateway.revoke_sessions(request).await.map(|answer| answer.into_inner().ended).map_err(|status| reason(&status)) }
    };
    assert_eq!(end(&here, Target::Session(strange)).await, Err(Reason::SessionNotFound));
    assert_eq!(end(&here, Target::Subject(vec![2; 16])).await, Err(Reason::RoleRequired));
    assert_eq!(end(&here, Target::Session(there_id.clone())).await, Ok(1));
    assert_eq!(bench.refresh(&there.refresh_token).await, Err(Reason::SessionRevoked));
    assert_eq!(ended(&bench, &there_id).await, "signed_out_everywhere");
    assert_eq!(end(&here, Target::Others(Others {})).await, Ok(1));
    assert_eq!(bench.refresh(&third.refresh_token).await, Err(Reason::SessionRevoked));
    let here = bench.refresh(&here.refresh_token).await.unwrap();
    assert_eq!(end(&here, Target::Subject(vec![])).await, Ok(1));
    assert_eq!(ended(&bench, &id).await, "signed_out_everywhere");
    bench.refresh(&stranger.refresh_token).await.unwrap();
    let nobodys = RevokeSessionsRequest { target: Some(Target::Others(Others {})), reason: "x".into() };
    assert_eq!(reason(&bench.operator().revoke_sessions(nobodys).await.unwrap_err()), Reason::InputInvalid);
}
