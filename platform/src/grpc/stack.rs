//! The callee's end. A request passes, in this order: trace and metrics, deadline (T4), the caller table (G2), the RPC.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::Instant;
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
    metadata::MetadataMap,
    service::Routes,
};
use tower::Service;
use tracing::Instrument;

use super::{Caller, CallerRow, Effect, Lane, User, UserRule, callers::bearer};
use crate::{
    context::{RequestContext, TraceContext},
    errors::{Failure, Reason},
    random::Random,
    telemetry::{self, SpanKind},
};

/// How long an RPC may take where the caller does not say.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// A call that the table did not admit; for the trail.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Who called, where that is known.
    pub caller: Option<Caller>,
    /// What.
    pub method: String,
    /// Why not.
    pub reason: Reason,
}

type Verify = dyn Fn(String, Effect) -> BoxFuture<'static, Result<User, Failure>> + Send + Sync;
type OnRefused = dyn Fn(Refused) + Send + Sync;

/// What a service lends its stack.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Verifies the access token of a user for whom a service calls. None: nobody can be acted for.
    pub verify_user: Option<Arc<Verify>>,
    /// Told of every refused call.
    pub on_refused: Option<Arc<OnRefused>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// When a request arrived, where it waited before it came here: its deadline counts from then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

/// A service's RPCs behind their layers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stack {
    routes: Routes,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    rows: HashMap<&'static str, Row>,
    hooks: Hooks,
    random: Random,
}

#[derive(Debug)]
struct Row {
    row: CallerRow,
    ok: Meter,
}

struct Meter {
    requests: metrics::Counter,
    duration: metrics::Histogram,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    fn new(method: &'static str, code: &'static str) -> Self {
        telemetry::metrics_handle();
        Self {
            requests: metrics::counter!("carelink_rpc_requests_total", "method" => method, "code" => code),
            duration: metrics::histogram!("carelink_rpc_duration_seconds", "method" => method),
        }
    }

    fn record(&self, since: Instant) {
        self.requests.increment(1);
        self.duration.record(since.elapsed().as_secs_f64());
    }
}

impl Stack {
    /// Puts `routes` behind their layers. RPCs that `table` does not name are refused to everybody.
    pub fn new(routes: Routes, table: &[CallerRow], hooks: Hooks, random: Random) -> Self {
        let rows = table.iter().map(|row| (row.method, Row { row: *row, ok: Meter::new(row.method, "OK") })).collect();
        Self { routes: routes.prepare(), gate: Arc::new(Gate { rows, hooks, random }) }
    }

    /// Where an RPC with this path waits, if it is served here.
    pub(crate) fn lane(&self, path: &str) -> Option<Lane> {
        self.gate.rows.get(path).map(|row| row.row.lane)
    }

    /// Whether the table lets this caller in, whatever it brings.
    pub(crate) fn admits(&self, path: &str, caller: &Caller) -> bool {
        self.gate.rows.get(path).is_some_and(|row| row.row.admits(caller))
    }

    /// `carelink.token.v1.TokenService`.
    pub(crate) fn service_name(&self) -> Option<&'static str> {
        self.gate.rows.keys().next()?.strip_prefix('/')?.split('/').next()
    }
}

impl Service<Request<Body>> for Stack {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(())) // Routes always is
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut routes, gate) = (self.routes.clone(), Arc::clone(&self.gate));
        let began = request.extensions().get().map_or_else(Instant::now, |Arrived(when)| *when);
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let trace = header("traceparent")
            .and_then(TraceContext::parse)
            .unwrap_or_else(|| TraceContext::root(&gate.random, telemetry::sample(&gate.random)));
        let left = header("grpc-timeout").and_then(parse_timeout).map_or(DEFAULT_DEADLINE, |left| left.min(DEFAULT_DEADLINE));
        let (span, trace) = telemetry::span(SpanKind::Server, request.uri().path(), trace);
        let streaming = request.uri().path().ends_with("/Watch"); // a stream ends with its reader, not with a deadline
        let deadline = (!streaming).then(|| began + left);
        let context = RequestContext { trace, deadline };
        let served = async move {
            let path = request.uri().path().to_owned();
            let response = match gate.admit(request).await {
                Err(failure) => Status::from(failure).into_http(),
                Ok(request) => {
                    let answer = routes.call(request);
                    match deadline {
                        None => answer.await?,
                        Some(deadline) => match tokio::time::timeout_at(deadline, answer).await {
                            Ok(answer) => answer?,
                            Err(_) => Status::from(Failure::new(Reason::DeadlineExceeded)).into_http(),
                        },
                    }
                }
            };
            gate.measure(&path, &response, began);
            Ok(response)
        };
        Box::pin(context.scope(served).instrument(span))
    }
}

impl Gate {
    /// Lets a request in or says why not (G2).
    async fn admit(&self, mut request: Request<Body>) -> Result<Request<Body>, Failure> {
        let caller = request.extensions().get::<Caller>().cloned();
        let judged = self.judge(&mut request, caller.as_ref()).await;
        if let (Err(failure), Some(tell)) = (&judged, &self.hooks.on_refused) {
            tell(Refused { caller, method: request.uri().path().to_owned(), reason: failure.reason() });
        }
        judged.map(|()| request)
    }

    async fn judge(&self, request: &mut Request<Body>, caller: Option<&Caller>) -> Result<(), Failure> {
        let refused = || Failure::new(Reason::CallerRefused);
        let Row { row, .. } = self.rows.get(request.uri().path()).ok_or_else(refused)?;
        let caller = caller.filter(|caller| row.admits(caller)).ok_or_else(refused)?;
        let roles = match (row.user, caller) {
            (UserRule::AnyRole(roles), Caller::Service(_)) => Some(roles),
            (UserRule::Any, Caller::Service(_)) => None,
            _ => return Ok(()),
        };
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let token = bearer(&metadata).ok_or_else(|| Failure::new(Reason::TokenMissing))?;
        let verify = self.hooks.verify_user.as_ref().ok_or_else(refused)?;
        let user = verify(token.to_owned(), row.effect).await?;
        if roles.is_some_and(|roles| !user.has_any(roles)) {
            return Err(Failure::new(Reason::RoleRequired));
        }
        request.extensions_mut().insert(user);
        Ok(())
    }

    fn measure(&self, path: &str, response: &Response<Body>, began: Instant) {
        let Some((method, row)) = self.rows.get_key_value(path) else { return };
        let code =
            response.headers().get("grpc-status").and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok()).unwrap_or(0);
        match tonic::Code::from_i32(code) {
            tonic::Code::Ok => row.ok.record(began),
            code => Meter::new(method, code_name(code)).record(began),
        }
    }
}

/// `Unauthenticated` as metrics label it.
fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
        tonic::Code::Unknown => "UNKNOWN",
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(value.saturating_mul(3_600)),
        "M" => Duration::from_secs(value.saturating_mul(60)),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}
