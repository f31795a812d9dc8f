//! token-service and audit-service as auth-service sees them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use carelink_platform::{
    grpc::{CallerRow, Channel, Hooks, Stack, in_process},
    random::Random,
};
use carelink_proto::{
    audit::{
        AppendRequest, AppendResponse, ListEventsRequest, ListEventsResponse,
        audit_service_server::{AuditService, AuditServiceServer},
    },
    token::{
        AppliedSubject, ApplySubjectsRequest, ApplySubjectsResponse, CreateSessionRequest, CreateSessionResponse, ImportSessionsRequest,
        ImportSessionsResponse, IntrospectRequest, IntrospectResponse, IssueServiceTokenRequest, IssueServiceTokenResponse,
        ListKeysRequest, ListKeysResponse, ListSessionsRequest, ListSessionsResponse, RefreshRequest, RefreshResponse,
        RegisterSourceRequest, RegisterSourceResponse, ReportActivityRequest, ReportActivityResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, RotateKeysRequest, RotateKeysResponse, SignOutRequest, SignOutResponse, Subject, WatchRequest,
        WatchResponse, WithdrawKeyRequest, WithdrawKeyResponse,
        token_service_server::{TokenService, TokenServiceServer},
    },
};
use futures::Stream;
use tonic::{Request, Response, Status, service::Routes};

const TOKEN: &[CallerRow] = &[CallerRow::services("/carelink.token.v1.TokenService/ApplySubjects", &["auth-service"])];
const AUDIT: &[CallerRow] = &[CallerRow::services("/carelink.audit.v1.AuditService/Append", &["auth-service"])];

/// What the played services were told.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// Whether token-service does not answer.
    pub(super) away: AtomicBool,
    /// The newest snapshot of each subject.
    pub(super) subjects: Mutex<HashMap<Vec<u8>, Subject>>,
    /// How often it was called.
    pub(super) calls: AtomicU64,
    /// Whether audit-service answers.
    pub(super) listening: AtomicBool,
    /// What it was told then, call by call.
    pub(super) told: Mutex<Vec<Vec<Vec<u8>>>>,
}

impl Played {
    pub(super) fn token_channel(self: &Arc<Self>) -> Channel {
        let routes = Routes::new(TokenServiceServer::new(Service(Arc::clone(self))));
        in_process(Stack::new(routes, TOKEN, Hooks::default(), Random::system()), "auth-service")
    }

    pub(super) fn audit_channel(self: &Arc<Self>) -> Channel {
        let routes = Routes::new(AuditServiceServer::new(Service(Arc::clone(self))));
        in_process(Stack::new(routes, AUDIT, Hooks::default(), Random::system()), "auth-service")
    }

    pub(super) fn subject(&self, id: &[u8]) -> Subject {
        self.subjects.lock().unwrap()[id].clone()
    }

    /// As if token-service had heard of a version that this database does not know.
    pub(super) fn hold(&self, subject: Subject) {
        self.subjects.lock().unwrap().insert(subject.id.clone(), subject);
    }
}

#[derive(Debug)]
struct Service(Arc<Played>);

#[tonic::async_trait]
impl AuditService for Service {
    /// Unless a test lets it listen, leaves everything in the outbox, where the tests look.
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        if !self.0.listening.load(Ordering::SeqCst) {
            return Err(Status::unavailable("played"));
        }
        let events = request.into_inner().events;
        let stored = u32::try_from(events.len()).unwrap();
        self.0.told.lock().unwrap().push(events);
        Ok(Response::new(AppendResponse { stored }))
    }

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        Err(Status::unimplemented("played"))
    }
}

impl Played {
    fn apply(&self, subjects: Vec<Subject>) -> Result<ApplySubjectsResponse, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut held = self.subjects.lock().unwrap();
        let mut applied = Vec::new();
        for subject in subjects {
            let known = held.entry(subject.id.clone()).or_insert_with(|| subject.clone());
            if known.version < subject.version {
                *known = subject;
            }
            applied.push(AppliedSubject { id: known.id.clone(), held_version: known.version });
        }
        Ok(ApplySubjectsResponse { subjects: applied, revocation: 100 + call })
    }
}

macro_rules! play_token_service {
    ($($unplayed:ident $request:ty => $response:ty;)*) => {
        #[tonic::async_trait]
        impl TokenService for Service {
            type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

            async fn apply_subjects(&self, request: Request<ApplySubjectsRequest>) -> Result<Response<ApplySubjectsResponse>, Status> {
                self.0.apply(request.into_inner().subjects).map(Response::new)
            }

            $(async fn $unplayed(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("played"))
            })*
        }
    };
}

play_token_service! {
    create_session CreateSessionRequest => CreateSessionResponse;
    refresh RefreshRequest => RefreshResponse;
    introspect IntrospectRequest => IntrospectResponse;
    sign_out SignOutRequest => SignOutResponse;
    revoke_sessions RevokeSessionsRequest => RevokeSessionsResponse;
    list_sessions ListSessionsRequest => ListSessionsResponse;
    register_source RegisterSourceRequest => RegisterSourceResponse;
    import_sessions ImportSessionsRequest => ImportSessionsResponse;
    watch WatchRequest => Self::WatchStream;
    list_keys ListKeysRequest => ListKeysResponse;
    rotate_keys RotateKeysRequest => RotateKeysResponse;
    issue_service_token IssueServiceTokenRequest => IssueServiceTokenResponse;
    withdraw_key WithdrawKeyRequest => WithdrawKeyResponse;
    report_activity ReportActivityRequest => ReportActivityResponse;
}
