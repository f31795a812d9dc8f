//! Certificates and authorities change under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_platform::{grpc::Network, lifecycle::Shutdown};
use carelink_proto::audit::audit_service_client::AuditServiceClient;

use crate::{
    bed::{Authority, Papers, Server, Start, append, channel, list, until},
    refused::greeted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_and_authorities_are_replaced_under_load_and_no_request_fails() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = format!("{}{}", old.pem(), new.pem());
    let start = || Start { max_age: Duration::from_secs(1), ..Start::with(&old) };
    let servers = [start().start().await, start().start().await];
    let addresses: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();

    let gateway = Papers::of(&old, "gateway");
    let (credentials, stop) = (gateway.credentials(), Shutdown::new());
    tokio::spawn(credentials.clone().watch(stop.clone()));
    let client = AuditServiceClient::new(channel(Network::mtls(credentials.clone()), &addresses));
    // Whether the client's own files have been taken up: it finds a server that only then finds it.
    let reaches = async |server: &Server| {
        let client = AuditServiceClient::new(channel(Network::mtls(credentials.clone()), &[server.address.to_string()]));
        until(async || append(&client).await.is_ok()).await;
    };
    let (done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, done, sent) = (client.clone(), Arc::clone(&done), Arc::clone(&sent));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    list(&client).await.unwrap(); // never sent twice: each of them must get through by itself
                    sent.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let more_are_sent = async |count: usize| {
        let before = sent.load(Ordering::SeqCst);
        until(async || sent.load(Ordering::SeqCst) >= before + count || load.iter().any(tokio::task::JoinHandle::is_finished)).await;
    };
    let by_new = new.issue("gateway.carelink.internal", (-1, 1));
    let by_old = old.issue("gateway.carelink.internal", (-1, 1));
    more_are_sent(100).await;

    // Both are believed.
    gateway.put(None, Some(&both));
    for server in &servers {
        assert!(greeted(server, &old, Some(&by_new)).await.is_err());
        server.papers.put(None, Some(&both));
    }
    for server in &servers {
        until(async || greeted(server, &old, Some(&by_new)).await.is_ok()).await;
    }
    let shown = new.issue("audit-service.carelink.internal", (-1, 1));
    reaches(&Start { papers: Papers::from(&shown, &both), ..start() }.start().await).await;
    more_are_sent(100).await;

    // The new one vouches.
    gateway.put(Some(&by_new), None);
    for server in &servers {
        server.papers.put(Some(&new.issue("audit-service.carelink.internal", (-1, 1))), None);
    }
    for server in &servers {
        until(async || greeted(server, &new, Some(&by_new)).await.is_ok()).await;
    }
    reaches(&Start { papers: Papers::from(&shown, &new.pem()), ..start() }.start().await).await;
    more_are_sent(100).await;

    // Only the new one is believed.
    gateway.put(None, Some(&new.pem()));
    for server in &servers {
        server.papers.put(None, Some(&new.pem()));
    }
    for server in &servers {
        until(async || greeted(server, &new, Some(&by_old)).await.is_err()).await;
        greeted(server, &new, Some(&by_new)).await.unwrap();
    }
    more_are_sent(200).await;
    done.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    stop.request();
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let gateway = ours.issue("gateway.carelink.internal", (-1, 1));
    let (good, bad) = (ours.issue("audit-service.carelink.internal", (-1, 1)), Authority::new().issue("x.carelink.internal", (-1, 1)));
    server.papers.put(Some(&(good.0.clone(), bad.1)), None); // a key of another certificate
    tokio::time::sleep(Duration::from_secs(3)).await;
    greeted(&server, &ours, Some(&gateway)).await.unwrap();
    server.papers.put(None, Some("no certificate at all"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    greeted(&server, &ours, Some(&gateway)).await.unwrap();
}

#[tokio::test]
async fn a_peer_whose_authority_is_taken_away_does_not_stay() {
    let (ours, next) = (Authority::new(), Authority::new());
    let server = Start { max_age: Duration::from_secs(2), ..Start::with(&ours) }.start().await;
    let client = Papers::of(&ours, "gateway").client(&[server.address]);
    append(&client).await.unwrap();
    server.papers.put(None, Some(&next.pem()));
    until(async || append(&client).await.is_err()).await;
}
