//! One call: how long it has, what is sent again.

use std::time::Duration;

use carelink_platform::{
    errors::Reason,
    grpc::{Room, Rooms},
};

use crate::bed::{Authority, Behaviour, Carries, Papers, Server, Start, Wire, append, list, reason, until, within};

#[tokio::test]
async fn t4_a_deadline_shrinks_on_its_way_and_ends_a_call() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let client = Papers::of(&ours, "gateway").client(&[server.address]);
    within(Duration::from_secs(5), list(&client)).await.unwrap();
    let left = server.ward.last().1.unwrap();
    assert!(left < Duration::from_millis(4_985), "the way itself takes a little: {left:?}");

    server.ward.behave(Behaviour::Hangs);
    let late = within(Duration::from_millis(200), list(&client)).await.unwrap_err();
    assert_eq!(reason(&late), Reason::DeadlineExceeded);
}

#[tokio::test]
async fn t4_a_call_whose_time_is_over_is_never_sent() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let client = Papers::of(&ours, "gateway").client(&[server.address]);
    list(&client).await.unwrap();
    let late = within(Duration::ZERO, append(&client)).await.unwrap_err();
    assert_eq!((reason(&late), server.ward.calls()), (Reason::DeadlineExceeded, 1));
}

#[tokio::test]
async fn t4_what_may_have_arrived_is_sent_again_only_where_that_does_no_harm() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let wire = Wire::to(server.address).await;
    let client = Papers::of(&ours, "gateway").client(&[wire.address]);
    list(&client).await.unwrap();
    server.ward.behave(Behaviour::Hangs);
    let calling = tokio::spawn({
        let client = client.clone();
        async move { list(&client).await }
    });
    until(async || server.ward.calls() == 2).await;
    wire.carries(Carries::Broken);
    let lost = calling.await.unwrap().unwrap_err();
    assert_eq!((reason(&lost), server.ward.calls()), (Reason::Unready, 2));
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_found_again_by_itself() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let wire = Wire::to(server.address).await;
    let client = Papers::of(&ours, "gateway").client(&[wire.address]);
    list(&client).await.unwrap();
    wire.carries(Carries::Broken);
    let refused = within(Duration::from_secs(30), list(&client)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Unready);
    wire.carries(Carries::All);
    until(async || list(&client).await.is_ok()).await;
}

#[tokio::test]
async fn more_than_a_server_can_do_is_turned_away_and_other_lanes_go_on() {
    let ours = Authority::new();
    let rooms = Rooms { usual: Room { places: 2, waiting: 1 }, ..Rooms::default() };
    let server = Start { rooms, ..Start::with(&ours) }.start().await;
    let client = Papers::of(&ours, "gateway").client(&[server.address]);
    append(&client).await.unwrap();
    server.ward.behave(Behaviour::Hangs);
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { list(&client).await })
        })
        .collect();
    until(async || server.ward.calls() == 3).await;
    for _ in 0..3 {
        let shed = list(&client).await.unwrap_err();
        let failure = carelink_platform::errors::Failure::from_status(&shed);
        assert_eq!((failure.reason(), failure.retry()), (Reason::Overloaded, Some(Duration::from_secs(1))));
    }
    assert_eq!(server.ward.calls(), 3, "what was turned away never began");
    server.ward.behave(Behaviour::Answers);
    for call in hanging {
        call.await.unwrap().unwrap();
    }
    list(&client).await.unwrap();
}

#[tokio::test]
async fn t4_retries_have_a_budget_and_do_not_make_an_outage_worse() {
    let ours = Authority::new();
    let (one, two) = (Server::start(&ours).await, Server::start(&ours).await);
    let client = Papers::of(&ours, "gateway").client(&[one.address, two.address]);
    until(async || {
        append(&client).await.unwrap();
        one.ward.calls() > 0 && two.ward.calls() > 0
    })
    .await;
    for server in [&one, &two] {
        server.ward.behave(Behaviour::Fails(Reason::StorageUnavailable));
    }
    let before = one.ward.calls() + two.ward.calls();
    let began = tokio::time::Instant::now();
    for _ in 0..1_000 {
        append(&client).await.unwrap_err();
    }
    let sent = one.ward.calls() + two.ward.calls() - before;
    let allowed = 1_000 + 100 + 100 + 11 * usize::try_from(began.elapsed().as_secs() + 1).unwrap();
    assert!(sent > 1_000 && sent <= allowed, "{sent} were sent for 1000, {allowed} are allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_gives_up_at_once_takes_nobody_else_along() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let wire = Wire::to(server.address).await;
    let client = Papers::of(&ours, "gateway").client(&[wire.address]);
    list(&client).await.unwrap();
    server.ward.behave(Behaviour::Hangs);
    let stays = tokio::spawn({
        let client = client.clone();
        async move { list(&client).await }
    });
    until(async || server.ward.calls() == 2).await;
    for _ in 0..5 {
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { append(&client).await })
            })
            .collect();
        tokio::task::yield_now().await;
        crowd.iter().for_each(tokio::task::JoinHandle::abort);
    }
    server.ward.behave(Behaviour::Answers);
    stays.await.unwrap().unwrap();
    list(&client).await.unwrap();
    assert_eq!(wire.made.load(std::sync::atomic::Ordering::SeqCst), 1, "over the same connection");
}
