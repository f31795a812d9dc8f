//! What must hold of sessions and subjects at their edges: a clock that steps, versions, pages, sizes, and what is swept.

use std::time::Duration;

use carelink_platform::{clock::Timestamp, errors::Reason, lifecycle::Shutdown};
use carelink_proto::token::{
    ListSessionsRequest, RevokeSessionsRequest, Snapshot, Subject, WatchRequest, revoke_sessions_request::Target, watch_response::Message,
};
use token_service::Config;

use crate::bench::{Bench, START, bench, bench_with, reason};

const END: i64 = START + 43_200;

async fn snapshot(bench: &Bench) -> Snapshot {
    let mut stream = bench.gateway().watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(snapshot)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_disabling_reaches_a_session_past_its_end_that_was_not_swept_so_that_no_step_back_revives_it() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench.hand.set(Timestamp::from_secs(END + 10));
    bench.apply(Subject { active: false, min_version: 2, end_reason: "disabled".into(), ..Bench::subject(1, 2, &[]) }).await;
    bench.hand.set(Timestamp::from_secs(END - 600));
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::UserInactive));
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_signing_out_past_the_end_is_answered_so_and_no_step_back_revives_it() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench.hand.set(Timestamp::from_secs(END));
    assert_eq!(bench.sign_out(&pair.refresh_token).await, Err(Reason::SessionExpired));
    bench.hand.set(Timestamp::from_secs(END - 600));
    assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_revocation_outlives_every_access_token_of_its_session_not_only_the_present_one() {
    let mut config = Config::default();
    config.session.access_lifetime = Duration::from_secs(12 * 3_600);
    let mut bench = bench_with(config).await;
    let (long, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    bench.reconfigure(|config| config.session.access_lifetime = Duration::from_secs(900)).await;
    let short = bench.refresh(&long.refresh_token).await.unwrap();
    assert!(short.access_expires < long.access_expires);
    bench.sign_out(&short.refresh_token).await.unwrap();
    bench.hand.set(Timestamp::from_secs(long.access_expires - 1));
    while bench.sweep().await.1 {}
    assert_eq!(snapshot(&bench).await.revocations.len(), 1, "a verifier that begins now refuses it");
    bench.hand.set(Timestamp::from_secs(long.access_expires + 7_199));
    while bench.sweep().await.1 {}
    assert_eq!(snapshot(&bench).await.revocations.len(), 1, "also after a step back of under 2 h");
    bench.hand.set(Timestamp::from_secs(long.access_expires + 7_200));
    while bench.sweep().await.1 {}
    assert_eq!((snapshot(&bench).await.revocations.len(), snapshot(&bench).await.head), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_sweeping_goes_on_until_nothing_old_is_left() {
    let bench = bench().await;
    for _ in 0..501 {
        bench.sign_in(Bench::subject(1, 1, &[])).await;
    }
    bench.hand.set(Timestamp::from_secs(END));
    assert_eq!([bench.sweep().await, bench.sweep().await], [(500, true), (1, false)]);
    bench.hand.set(Timestamp::from_secs(END + 3_600));
    assert_eq!([bench.sweep().await, bench.sweep().await], [(0, true), (0, false)], "rows");
    bench.hand.set(Timestamp::from_secs(END + 7_200));
    assert_eq!([bench.sweep().await, bench.sweep().await], [(0, true), (0, false)], "revocations");
    assert_eq!(snapshot(&bench).await.head, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_the_answer_past_the_end_is_the_same_before_and_after_the_sweeper() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    for (at, ended) in [(END, 1), (END + 60, 0), (END + 3_600, 0)] {
        bench.hand.set(Timestamp::from_secs(at));
        for _ in 0..2 {
            assert_eq!(bench.refresh(&pair.refresh_token).await, Err(Reason::SessionExpired));
            assert_eq!(bench.introspect(&pair.refresh_token).await, (false, "session_expired".into()));
            if at == END {
                break; // not swept yet
            }
        }
        assert_eq!(bench.sweep().await.0, ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_what_is_revoked_between_a_subscription_and_the_first_look_is_told() {
    let bench = bench().await;
    let (pair, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let mut stream = bench.gateway().watch(WatchRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap();
    bench.sign_out(&pair.refresh_token).await.unwrap();
    let shutdown = Shutdown::new();
    let (app, stopped) = (bench.app.clone(), shutdown.clone());
    let telling = tokio::spawn(async move { app.tell_verifiers(&stopped).await });
    let Some(Message::Entries(entries)) = stream.message().await.unwrap().unwrap().message else { panic!("entries come first") };
    assert_eq!((entries.head, &entries.revocations[0].session), (1, &id));
    shutdown.request();
    telling.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_the_answer_says_which_version_is_held_and_an_older_one_changes_nothing() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 9, &["doctor"])).await;
    let disabled = Subject { active: false, ..Bench::subject(1, 8, &[]) };
    let answer = bench.apply_all(vec![disabled.clone(), Bench::subject(2, 1, &[]), Bench::subject(1, 9, &[])]).await.unwrap();
    let held: Vec<u64> = answer.subjects.iter().map(|subject| subject.held_version).collect();
    assert_eq!((held, answer.revocation), (vec![9, 1, 9], 0));
    bench.refresh(&pair.refresh_token).await.unwrap();
    let raised = bench.apply_all(vec![Subject { version: 10, ..disabled }]).await.unwrap();
    assert_eq!((raised.subjects[0].held_version, raised.revocation), (10, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn u2_several_versions_of_a_subject_in_one_call_end_with_the_newest_whatever_their_order() {
    let bench = bench().await;
    let (pair, _) = bench.sign_in(Bench::subject(1, 1, &["doctor", "nurse"])).await;
    let versions = [3, 2, 4].map(|version| Bench::subject(1, version, if version == 2 { &[] } else { &["nurse"] }));
    let answer = bench.apply_all(versions.to_vec()).await.unwrap();
    assert_eq!(answer.subjects.iter().map(|subject| subject.held_version).collect::<Vec<_>>(), [3, 3, 4]);
    assert_eq!(answer.revocation, 1, "one role was lost, once");
    assert!(bench.refresh(&pair.refresh_token).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn u1_what_no_version_could_follow_is_refused_and_so_are_too_many_at_once() {
    let bench = bench().await;
    for bad in [Bench::subject(1, u64::MAX, &[]), Subject { min_version: 2, ..Bench::subject(1, 1, &[]) }, Bench::subject(0, 1, &[])] {
        assert_eq!(bench.apply_all(vec![bad]).await.err(), Some(Reason::InputInvalid));
    }
    assert_eq!(bench.apply_all(vec![Bench::subject(1, 1, &[]); 501]).await.err(), Some(Reason::InputInvalid));
    bench.apply_all(vec![Bench::subject(1, 1, &[]); 500]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_revoking_asks_for_a_reason_of_a_sane_length_and_a_target_that_is_one() {
    let bench = bench().await;
    let (_, id) = bench.sign_in(Bench::subject(1, 1, &[])).await;
    let revoke = |target: Option<Target>, why: String| {
        let mut operator = bench.operator();
        async move { operator.revoke_sessions(RevokeSessionsRequest { target, reason: why }).await.map_err(|status| reason(&status)) }
    };
    let session = Some(Target::Session(id));
    assert_eq!(revoke(session.clone(), " \n".into()).await.err(), Some(Reason::ReasonRequired));
    assert_eq!(revoke(session.clone(), "x".repeat(1_001)).await.err(), Some(Reason::InputInvalid));
    assert_eq!(revoke(None, "why".into()).await.err(), Some(Reason::InputInvalid));
    assert_eq!(revoke(Some(Target::Session(vec![1])), "why".into()).await.err(), Some(Reason::InputInvalid));
    assert_eq!(revoke(Some(Target::Subject(vec![])), "why".into()).await.err(), Some(Reason::InputInvalid));
    assert_eq!(revoke(Some(Target::Session(vec![7; 16])), "why".into()).await.err(), Some(Reason::SessionNotFound));
    assert_eq!(revoke(session, "x".repeat(1_000)).await.unwrap().into_inner().ended, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_newest_first_in_pages_that_miss_and_repeat_none() {
    let bench = bench().await;
    let mut all = Vec::new();
    for number in 0..12 {
        let (pair, id) = bench.sign_in(Bench::subject(1 + number % 2, 1, &[])).await;
        if number % 4 == 0 {
            bench.sign_out(&pair.refresh_token).await.unwrap();
        }
        if number % 3 == 0 {
            bench.hand.advance(Duration::from_secs(1)); // several at the same time
        }
        all.push((1 + number % 2, number % 4 == 0, id));
    }
    for (subject, include_ended) in [(None, true), (None, false), (Some(1), true), (Some(2), false)] {
        let mut listed = Vec::new();
        let mut cursor = String::new();
        loop {
            let subject = subject.map(|user| vec![user; 16]).unwrap_or_default();
            let page = ListSessionsRequest { subject, include_ended, page_size: 3, cursor };
            let page = bench.operator().list_sessions(page).await.unwrap().into_inner();
            assert!(page.sessions.len() <= 3);
            listed.extend(page.sessions);
            cursor = page.next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        assert!(listed.windows(2).all(|pair| (pair[0].created_us, &pair[0].id) > (pair[1].created_us, &pair[1].id)));
        let wanted = all.iter().filter(|(user, ended, _)| subject.is_none_or(|of| of == *user) && (include_ended || !ended)).count();
        assert_eq!(listed.len(), wanted);
        assert!(listed.iter().all(|session| (session.ended_us > 0) == (session.end_reason == "signed_out")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_nowhere_is_refused_and_a_page_is_never_huge() {
    let bench = bench().await;
    let id = "0".repeat(32);
    for cursor in
        ["x".into(), ".".into(), format!("1.{id}0"), format!("{}.{id}", "9".repeat(30)), format!("0x1.{id}"), "x".repeat(1_000_000)]
    {
        let status = bench.operator().list_sessions(ListSessionsRequest { cursor, ..Default::default() }).await.unwrap_err();
        assert_eq!(reason(&status), Reason::InputInvalid);
    }
    let page = ListSessionsRequest { page_size: u32::MAX, cursor: format!("{}.{id}", i64::MIN), ..Default::default() };
    assert!(bench.operator().list_sessions(page).await.unwrap().into_inner().sessions.is_empty());
}
