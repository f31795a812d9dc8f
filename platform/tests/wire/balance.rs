//! Calls are spread over the replicas there are, by what they can bear.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_platform::{
    grpc::{Channel, GrpcConfig, Network, Peers},
    random::Random,
};
use carelink_proto::audit::audit_service_client::AuditServiceClient;

use crate::bed::{Authority, Behaviour, Carries, Papers, Server, Wire, append, channel, list, until};

/// So many calls, eight at a time; all must succeed.
async fn call(client: &AuditServiceClient<Channel>, times: usize) {
    let callers = (0..8).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..times / 8 {
                list(&client).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

/// A name whose addresses a test says; without any it cannot be looked up.
fn named(network: Network, addresses: &Arc<Mutex<Vec<SocketAddr>>>, in_vain: &Arc<AtomicUsize>) -> Channel {
    let (addresses, in_vain) = (Arc::clone(addresses), Arc::clone(in_vain));
    let network = network.resolving(move |_| {
        let found = addresses.lock().unwrap().clone();
        in_vain.fetch_add(usize::from(found.is_empty()), Ordering::SeqCst);
        Box::pin(async move { if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) } })
    });
    channel(network, &["audit:8103".to_owned()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_spread_and_a_new_replica_gets_its_share_and_one_that_is_gone_none() {
    let ours = Authority::new();
    let servers = [Server::start(&ours).await, Server::start(&ours).await, Server::start(&ours).await];
    let [one, two, three] = &servers;
    let addresses = Arc::new(Mutex::new(vec![one.address, two.address]));
    let asked = Arc::default();
    let client = AuditServiceClient::new(named(Papers::of(&ours, "gateway").network(), &addresses, &asked));
    until(async || {
        call(&client, 80).await;
        one.ward.calls() >= 40 && two.ward.calls() >= 40
    })
    .await;
    assert_eq!(three.ward.calls(), 0);

    *addresses.lock().unwrap() = vec![two.address, three.address];
    until(async || {
        call(&client, 80).await;
        three.ward.calls() >= 80
    })
    .await;
    let before = one.ward.calls();
    call(&client, 400).await;
    assert_eq!(one.ward.calls(), before, "it is no replica any more");

    addresses.lock().unwrap().clear();
    until(async || {
        call(&client, 80).await; // a name that cannot be looked up keeps the addresses it had
        asked.load(Ordering::SeqCst) >= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_does_not_drag_the_rest() {
    let ours = Authority::new();
    let (fast, slow) = (Server::start(&ours).await, Server::start(&ours).await);
    slow.ward.behave(Behaviour::Slow(Duration::from_secs(2)));
    let client = Papers::of(&ours, "gateway").client(&[fast.address, slow.address]);
    until(async || {
        call(&client, 8).await;
        slow.ward.calls() > 0 && fast.ward.calls() > 0
    })
    .await;
    let (before_fast, before_slow) = (fast.ward.calls(), slow.ward.calls());
    call(&client, 800).await;
    let (to_fast, to_slow) = (fast.ward.calls() - before_fast, slow.ward.calls() - before_slow);
    assert!(to_slow * 5 < to_fast, "{to_slow} to the slow one, {to_fast} to the fast one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_is_left_at_once_and_what_may_be_sent_again_does_not_fail() {
    let ours = Authority::new();
    let (stays, dies) = (Server::start(&ours).await, Server::start(&ours).await);
    let wire = Wire::to(dies.address).await;
    let client = Papers::of(&ours, "gateway").client(&[stays.address, wire.address]);
    until(async || {
        call(&client, 80).await;
        stays.ward.calls() > 0 && dies.ward.calls() > 0
    })
    .await;
    dies.ward.behave(Behaviour::Hangs);
    let under_way: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { append(&client).await })
        })
        .collect();
    let before = dies.ward.calls();
    until(async || dies.ward.calls() > before || under_way.iter().all(tokio::task::JoinHandle::is_finished)).await;
    wire.carries(Carries::Broken);
    for call in under_way {
        call.await.unwrap().unwrap();
    }
    let before = dies.ward.calls();
    call(&client, 400).await;
    assert_eq!(dies.ward.calls(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_nothing_reaches_any_more_is_left_without_being_told() {
    let ours = Authority::new();
    let (stays, fades) = (Server::start(&ours).await, Server::start(&ours).await);
    let wire = Wire::to(fades.address).await;
    let client = Papers::of(&ours, "gateway").client(&[stays.address, wire.address]);
    until(async || {
        call(&client, 80).await;
        fades.ward.calls() > 0
    })
    .await;
    wire.carries(Carries::Nothing);
    // What is under way there ends once the connection is known to be dead, and is sent to the other one.
    let made = wire.made.load(Ordering::SeqCst);
    let callers = (0..8).map(|_| {
        let (client, connections) = (client.clone(), Arc::clone(&wire.made));
        tokio::spawn(async move {
            while connections.load(Ordering::SeqCst) == made {
                append(&client).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let before = fades.ward.calls();
    call(&client, 400).await;
    assert_eq!(fades.ward.calls(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_says_it_is_not_ready_gets_nothing_while_another_is() {
    let ours = Authority::new();
    let (one, two) = (Server::start(&ours).await, Server::start(&ours).await);
    let client = Papers::of(&ours, "gateway").client(&[one.address, two.address]);
    call(&client, 80).await;
    two.is_ready(false);
    until(async || {
        let before = two.ward.calls();
        call(&client, 400).await;
        two.ward.calls() == before
    })
    .await;
    one.is_ready(false); // none is: then any will do, it may still know an answer
    call(&client, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_replica_is_reached_by_itself_as_its_name_is_looked_up_now() {
    let ours = Authority::new();
    let servers = [Server::start(&ours).await, Server::start(&ours).await];
    let found: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let network = Papers::of(&ours, "alice.operator").network().resolving(move |_| {
        let found = found.clone();
        Box::pin(async move { Ok(found) })
    });
    let config = GrpcConfig { audit: vec!["audit:8103".to_owned(), "audit.example:8103".to_owned()], ..GrpcConfig::default() };
    let peers = Peers::new(config, network, Random::system());
    let each = peers.each("audit-service").await.unwrap();
    assert_eq!(each.len(), 2, "an address is one replica, whatever names it has");
    for (address, channel) in each {
        list(&AuditServiceClient::new(channel)).await.unwrap();
        let calls = servers.iter().filter(|server| server.address == address).map(|server| server.ward.calls());
        assert_eq!(calls.collect::<Vec<_>>(), [1]);
    }
    assert!(peers.each("gateway").await.unwrap().is_empty(), "nothing says where they are");
}
