//! One type for every way to token-service: the services' own stack in this process, or a connection.

use tonic::{Status, body::Body};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// What a generated client is made of here. Its error is a concrete type on purpose: over a boxed one the compiler
/// cannot show that the generated client's futures are `Send`.
pub type Channel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Boxes whatever a generated client could be made of: a tonic channel, `Routes`, a stack of layers.
pub fn channel<S>(service: S) -> Channel
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service.map_err(|error| Status::from_error(error.into())))
}
