//! A subscriber beside the machine: what it hears must be what the model says.

use carelink_platform::lifecycle::Shutdown;
use carelink_proto::token::{WatchRequest, WatchResponse, watch_response::Message};
use tokio::task::JoinHandle;
use tonic::Streaming;
use uuid::Uuid;

use crate::{
    bench::Bench,
    model::{Model, Revocation},
};

/// A subscriber.
pub struct Watch {
    pub stop: Shutdown,
    pub feed: JoinHandle<()>,
    pub stream: Streaming<WatchResponse>,
    pub heard: Vec<Revocation>,
}

pub async fn subscribe(bench: &Bench, model: &Model) -> Watch {
    let stop = Shutdown::new();
    let (app, stopped) = (bench.app.clone(), stop.clone());
    let feed = tokio::spawn(async move { app.tell_verifiers(&stopped).await });
    let mut stream = bench.gateway().watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(snapshot)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    assert_eq!((snapshot.head, snapshot.time_us), (model.head(), model.now));
    let live = model.revocations.iter().filter(|r| !r.deleted && r.until > model.now);
    assert_eq!(snapshot.revocations.iter().map(revocation).collect::<Vec<_>>(), live.copied().collect::<Vec<_>>(), "what still matters");
    Watch { stop, feed, stream, heard: model.revocations.clone() }
}

pub fn revocation(told: &carelink_proto::token::Revocation) -> Revocation {
    let session = Uuid::from_slice(&told.session).unwrap();
    Revocation { session, generation: told.generation, until: told.until_us, deleted: false }
}
