//! A token-service that does what a test says: the generated server over `Routes`, as services meet in one process.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_proto::token::{
    token_service_server::{TokenService, TokenServiceServer},
    watch_response::Message,
    *,
};
use carelink_verifier::{Channel, Config, Verifier, channel};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, service::Routes};

use crate::issuer::{Issuer, START_S, key_set, snapshot};

/// How introspection behaves.
#[derive(Clone)]
pub(crate) enum Answer {
    Says(IntrospectResponse),
    Fails(Status),
    Hangs,
    Later(Duration, IntrospectResponse),
}

/// A handle on the service; clones share it.
#[derive(Clone)]
pub(crate) struct Ward {
    inner: Arc<Inner>,
}

struct Inner {
    begun: Instant,
    /// A database that is not written any more: its last pulse.
    stopped_us: Mutex<Option<i64>>,
    /// What a connection begins with; `None` refuses it.
    snapshot: Mutex<Option<Snapshot>>,
    open: Mutex<Option<mpsc::Sender<Result<WatchResponse, Status>>>>,
    connections: watch::Sender<usize>,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    asking: AtomicUsize,
    most_asking: AtomicUsize,
    service_token: Mutex<Option<String>>,
    issued: AtomicUsize,
    /// What verifiers reported.
    reports: mpsc::UnboundedSender<ReportActivityRequest>,
    reported: Mutex<mpsc::UnboundedReceiver<ReportActivityRequest>>,
}

impl Ward {
    pub(crate) fn new(issuers: &[&Issuer]) -> Self {
        let (reports, reported) = mpsc::unbounded_channel();
        let inner = Inner {
            begun: Instant::now(),
            stopped_us: Mutex::default(),
            snapshot: Mutex::new(Some(snapshot(issuers))),
            open: Mutex::default(),
            connections: watch::Sender::new(0),
            answer: Mutex::new(Answer::Fails(Status::unavailable("not now"))),
            asked: AtomicUsize::default(),
            asking: AtomicUsize::default(),
            most_asking: AtomicUsize::default(),
            service_token: Mutex::default(),
            issued: AtomicUsize::default(),
            reports,
            reported: Mutex::new(reported),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(Routes::new(TokenServiceServer::new(self.clone())).prepare())
    }

    /// A verifier that watches this service, ready.
    pub(crate) async fn verifier(&self) -> Verifier {
        self.verifier_with(Config::default()).await
    }

    pub(crate) async fn verifier_with(&self, config: Config) -> Verifier {
        let verifier = Verifier::start(config, self.channel());
        verifier.ready().await;
        verifier
    }

    /// Changes what the next connection begins with.
    pub(crate) fn next_snapshot(&self, change: impl FnOnce(&mut Option<Snapshot>)) {
        change(&mut self.inner.snapshot.lock().unwrap());
    }

    pub(crate) fn stop_clock_at(&self, time_us: i64) {
        *self.inner.stopped_us.lock().unwrap() = Some(time_us);
    }

    pub(crate) fn let_clock_run(&self) {
        *self.inner.stopped_us.lock().unwrap() = None;
    }

    pub(crate) fn now_us(&self) -> i64 {
        if let Some(stopped) = *self.inner.stopped_us.lock().unwrap() {
            return stopped;
        }
        START_S * 1_000_000 + i64::try_from(self.inner.begun.elapsed().as_micros()).unwrap()
    }

    /// What verifiers have reported since this was asked last.
    pub(crate) fn reported(&self) -> Vec<ReportActivityRequest> {
        let mut reported = self.inner.reported.lock().unwrap();
        std::iter::from_fn(|| reported.try_recv().ok()).collect()
    }

    /// Sends one message, and gives the verifier time to take it.
    pub(crate) async fn send(&self, message: Message) {
        let sender = self.inner.open.lock().unwrap().clone().unwrap();
        let _ = sender.send(Ok(WatchResponse { message: Some(message) })).await;
        settle().await;
    }

    pub(crate) async fn send_empty(&self) {
        let sender = self.inner.open.lock().unwrap().clone().unwrap();
        let _ = sender.send(Ok(WatchResponse { message: None })).await;
        settle().await;
    }

    pub(crate) async fn entries(&self, revocations: Vec<Revocation>) {
        let head = revocations.iter().map(|entry| entry.number).max().unwrap_or_default();
        self.send(Message::Entries(Entries { revocations, head, time_us: self.now_us() })).await;
    }

    pub(crate) async fn beat(&self, head: u64, issuers: &[&Issuer]) {
        self.beat_at(head, issuers, self.now_us()).await;
    }

    pub(crate) async fn beat_at(&self, head: u64, issuers: &[&Issuer], time_us: i64) {
        self.send(Message::Heartbeat(Heartbeat { head, time_us, key_digest: key_set(issuers).digest, ..Heartbeat::default() })).await;
    }

    /// A heartbeat a second, for so many.
    pub(crate) async fn beat_for(&self, seconds: u32, head: u64, issuers: &[&Issuer]) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            self.beat(head, issuers).await;
        }
    }

    /// Ends the stream, and refuses the next ones.
    pub(crate) async fn go_away(&self) {
        self.inner.snapshot.lock().unwrap().take();
        self.inner.open.lock().unwrap().take();
        settle().await;
    }

    /// Ends the stream alone.
    pub(crate) fn drop_stream(&self) {
        self.inner.open.lock().unwrap().take();
    }

    /// Whoever asks for a service token gets this one.
    pub(crate) fn issues(&self, token: String) {
        *self.inner.service_token.lock().unwrap() = Some(token);
    }

    /// How often somebody asked for one.
    pub(crate) fn issued(&self) -> usize {
        self.inner.issued.load(Ordering::SeqCst)
    }

    /// Says nothing more, on this stream and the next ones.
    pub(crate) async fn fall_silent(&self) {
        self.inner.snapshot.lock().unwrap().take();
    }

    pub(crate) fn connections(&self) -> usize {
        *self.inner.connections.borrow()
    }

    pub(crate) async fn connected(&self, times: usize) {
        self.inner.connections.subscribe().wait_for(|count| *count >= times).await.unwrap();
        settle().await;
    }

    /// Whether whoever watches has hung up.
    pub(crate) fn is_deserted(&self) -> bool {
        self.inner.open.lock().unwrap().as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.inner.answer.lock().unwrap() = answer;
    }

    pub(crate) fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn most_asking(&self) -> usize {
        self.inner.most_asking.load(Ordering::SeqCst)
    }
}

/// Lets whatever can go on go on; paused time moves by a millisecond.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

struct Asking<'a>(&'a AtomicUsize);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl TokenService for Ward {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Reply<Self::WatchStream> {
        self.inner.connections.send_modify(|count| *count += 1);
        let snapshot = self.inner.snapshot.lock().unwrap().clone().ok_or_else(|| Status::unavailable("gone"))?;
        let snapshot = Snapshot { time_us: if snapshot.time_us > 0 { self.now_us() } else { snapshot.time_us }, ..snapshot };
        let (sender, receiver) = mpsc::channel(16);
        sender.send(Ok(WatchResponse { message: Some(Message::Snapshot(snapshot)) })).await.unwrap();
        *self.inner.open.lock().unwrap() = Some(sender);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn introspect(&self, _: Request<IntrospectRequest>) -> Reply<IntrospectResponse> {
        self.inner.asked.fetch_add(1, Ordering::SeqCst);
        let asking = self.inner.asking.fetch_add(1, Ordering::SeqCst) + 1;
        self.inner.most_asking.fetch_max(asking, Ordering::SeqCst);
        let _asking = Asking(&self.inner.asking);
        let answer = self.inner.answer.lock().unwrap().clone();
        match answer {
            Answer::Says(response) => Ok(Response::new(response)),
            Answer::Fails(status) => Err(status),
            Answer::Hangs => std::future::pending().await,
            Answer::Later(wait, response) => {
                sleep(wait).await;
                Ok(Response::new(response))
            }
        }
    }

    async fn withdraw_key(&self, _: Request<WithdrawKeyRequest>) -> Reply<WithdrawKeyResponse> {
        Err(Status::unimplemented(""))
    }

    async fn report_activity(&self, request: Request<ReportActivityRequest>) -> Reply<ReportActivityResponse> {
        let _ = self.inner.reports.send(request.into_inner());
        Ok(Response::new(ReportActivityResponse {}))
    }

    async fn create_session(&self, _: Request<CreateSessionRequest>) -> Reply<CreateSessionResponse> {
        Err(Status::unimplemented(""))
    }

    async fn refresh(&self, _: Request<RefreshRequest>) -> Reply<RefreshResponse> {
        Err(Status::unimplemented(""))
    }

    async fn sign_out(&self, _: Request<SignOutRequest>) -> Reply<SignOutResponse> {
        Err(Status::unimplemented(""))
    }

    async fn revoke_sessions(&self, _: Request<RevokeSessionsRequest>) -> Reply<RevokeSessionsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Reply<ListSessionsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn apply_subjects(&self, _: Request<ApplySubjectsRequest>) -> Reply<ApplySubjectsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn register_source(&self, _: Request<RegisterSourceRequest>) -> Reply<RegisterSourceResponse> {
        Err(Status::unimplemented(""))
    }

    async fn import_sessions(&self, _: Request<ImportSessionsRequest>) -> Reply<ImportSessionsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Reply<ListKeysResponse> {
        Err(Status::unimplemented(""))
    }

    async fn rotate_keys(&self, _: Request<RotateKeysRequest>) -> Reply<RotateKeysResponse> {
        Err(Status::unimplemented(""))
    }

    async fn issue_service_token(&self, _: Request<IssueServiceTokenRequest>) -> Reply<IssueServiceTokenResponse> {
        self.inner.issued.fetch_add(1, Ordering::SeqCst);
        let token = self.inner.service_token.lock().unwrap().clone().ok_or_else(|| Status::permission_denied("no account"))?;
        Ok(Response::new(IssueServiceTokenResponse { token, expires: START_S + 900 }))
    }
}
