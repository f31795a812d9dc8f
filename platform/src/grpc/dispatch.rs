//! From a connection to the service meant: who calls is known by now, which RPC it is decides who answers.
//!
//! Reflection (v1, and v1alpha for older clients) and health are for everybody who was let in.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
    service::Routes,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;

use super::{
    Caller, Lane, Stack,
    callers::CLAIMED_BY,
    lanes::Lanes,
    methods,
    stack::{Arrived, parse_timeout},
};
use crate::{
    errors::{Failure, Reason},
    lifecycle::Shutdown,
    ops::Readiness,
};

/// How often health is told what readiness says.
const HEALTH: Duration = Duration::from_millis(250);

/// Characters of what an operator's client claims.
const MAX_CLAIM: usize = 64;

/// Everything that one port serves. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatch {
    stacks: Arc<[Stack]>,
    open: Routes,
    health: HealthReporter,
    lanes: Option<Lanes>,
}

impl Dispatch {
    pub(crate) async fn new(stacks: Vec<Stack>, lanes: Option<Lanes>) -> Result<Self, tonic_reflection::server::Error> {
        let describe = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(carelink_proto::DESCRIPTORS);
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status("", ServingStatus::Serving).await;
        let open = Routes::new(service).add_service(describe().build_v1()?).add_service(describe().build_v1alpha()?).prepare();
        Ok(Self { stacks: stacks.into(), open, health, lanes })
    }

    /// Keeps `grpc.health.v1` at what readiness says, until the stop is requested.
    pub(crate) async fn tell_health(self, readiness: Readiness, shutdown: Shutdown) {
        let mut told = None;
        loop {
            let ready = readiness.failing().is_empty() && !shutdown.is_announced();
            if told.replace(ready) != Some(ready) {
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.health.set_service_status("", status).await;
                for service in self.stacks.iter().filter_map(Stack::service_name) {
                    self.health.set_service_status(service, status).await;
                }
            }
            if shutdown.is_requested() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(HEALTH) => {}
                () = shutdown.announced(), if ready => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Answers one request of `caller`. Answers that stream end when `closing` is cancelled.
    pub(crate) async fn answer(
        self,
        mut request: Request<hyper::body::Incoming>,
        mut caller: Caller,
        closing: CancellationToken,
    ) -> Response<Body> {
        if let Caller::Operator(operator) = &mut caller {
            let claimed = request.headers().get(CLAIMED_BY).and_then(|name| name.to_str().ok());
            operator.claimed = claimed.map(|name| name.chars().take(MAX_CLAIM).collect());
        }
        request.extensions_mut().insert(caller);
        let mut request = request.map(Body::new);
        let path = request.uri().path();
        if path.starts_with("/grpc.") {
            let mut open = self.open;
            let Ok(response) = open.call(request).await;
            return response.map(|body| Body::new(Closing::of(body, closing)));
        }
        let refused = |stack: &Stack, path: &str, request: &Request<Body>| {
            request.extensions().get::<Caller>().is_none_or(|caller| !stack.admits(path, caller))
        };
        let Some((mut stack, lane)) = self.stacks.iter().find_map(|stack| Some((stack.clone(), stack.lane(path)?))) else {
            return Status::unimplemented("no such method").into_http();
        };
        // However urgent it is for one of ours: who is none of ours holds up only their like.
        let guest = matches!(request.extensions().get(), Some(Caller::Internal(_)));
        let lane = if guest { Lane::Guests } else { lane };
        let streams = methods::method(path).streams;
        let left = request.headers().get("grpc-timeout").and_then(|left| left.to_str().ok()).and_then(parse_timeout);
        request.extensions_mut().insert(Arrived(Instant::now()));
        // Whom the table refuses takes nobody's place.
        let place = match &self.lanes {
            _ if refused(&stack, request.uri().path(), &request) => None,
            Some(lanes) => match lanes.enter(lane, left).await {
                Ok(place) => Some(place),
                Err(failure) => return shed(&failure),
            },
            None => None,
        };
        let Ok(response) = stack.call(request).await;
        drop(place);
        if streams { response.map(|body| Body::new(Closing::of(body, closing))) } else { response }
    }
}

/// Told without a line in the log: there will be many.
fn shed(failure: &Failure) -> Response<Body> {
    failure.to_status().into_http()
}

/// A body that ends as unavailable once its connection is closing, so that whoever follows it goes elsewhere.
struct Closing {
    body: Body,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl Closing {
    fn of(body: Body, closing: CancellationToken) -> Self {
        Self { body, closing: Box::pin(closing.cancelled_owned()), ended: false }
    }
}

impl HttpBody for Closing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.closing.as_mut().poll(context));
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let status = Failure::new(Reason::Unready).message("This connection is closing; open another").to_status();
        let _ = status.add_header(&mut trailers); // its texts are plain
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
