//! The RPCs: decode, call, encode. One file per use case.

mod append;
mod list_events;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trips;

use carelink_platform::{events::Actor, grpc::Caller};
use carelink_proto::audit::{AppendRequest, AppendResponse, ListEventsRequest, ListEventsResponse, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

use crate::trail::Trail;

#[tonic::async_trait]
impl AuditService for Trail {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let caller = Caller::of(request.extensions())?.name();
        Ok(Response::new(append::append(self, &caller, request.into_inner()).await?))
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let reader = Actor::of(request.extensions());
        Ok(Response::new(list_events::list_events(self, reader, request.into_inner()).await?))
    }
}
