//! The one table of paths: which there are, who may ask what of them, and everything that they can answer.
//!
//! Routing ([`mount`]), the document at /openapi.json and the tests that try every route are all made from it. Nothing is served that
//! has no row, and a failure that its row does not name leaves as an error of ours: so the document is not a hope but a bound.
//!
//! `operation` has the rows' types, `predecessor` the rows under /account, `own` the rest, `serve` what happens before a handler.

mod administration;
mod operation;
mod own;
mod predecessor;
mod serve;

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{MethodRouter, any},
};
use carelink_platform::errors::{Failure, Reason};
use http::Method;
use tower::ServiceExt;

pub(crate) use self::operation::{Access, Endpoint, Operation, Outcome, Parameter, Refused, SchemaOf, Told};
use crate::{
    account,
    answer::Surface,
    app::App,
    config::{DEADLINE, GatewayConfig},
    edge::{self, Call, Route},
};

/// Where a last slash may be missing.
const SLASH_OPTIONAL: &str = "/djoser/jwt/";

/// Every path, in the order in which the document shows them.
pub(crate) fn endpoints(config: &GatewayConfig) -> Vec<Endpoint> {
    own::endpoints().into_iter().chain(administration::endpoints()).chain(predecessor::endpoints(config)).collect()
}

/// Which path leads where. The labels of metrics and spans stay the same whatever the prefix is.
pub(crate) fn mount(app: &Arc<App>, endpoints: Vec<Endpoint>) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints {
        let (path, slashless) = (endpoint.served_at.clone(), endpoint.served_at.trim_end_matches('/').to_owned());
        if slashless != path && !slashless.is_empty() {
            router = router.route(&slashless, without_slash(app, &endpoint));
        }
        router = router.route(&path, methods(app, endpoint));
    }
    router.fallback_service(unmatched(app))
}

/// A path whose last slash is missing: Django's redirect, or the same where djoser takes either.
fn without_slash(app: &Arc<App>, endpoint: &Endpoint) -> MethodRouter {
    if let (true, Some(handler), Some(first)) = (endpoint.path.starts_with(SLASH_OPTIONAL), endpoint.whole, endpoint.operations.first()) {
        return served(app, route(endpoint.path, endpoint.surface, first), handler);
    }
    let redirect = Route::new(endpoint.path, endpoint.surface, DEADLINE);
    served(app, redirect, |_, call: Call| async move { account::add_slash(&call) })
}

fn route(path: &'static str, surface: Surface, operation: &Operation) -> Route {
    let route = Route::new(path, surface, operation.deadline);
    if operation.hashes { route.hashing() } else { route }
}

/// All methods of one path; each operation has places and a deadline of its own.
fn methods(app: &Arc<App>, endpoint: Endpoint) -> MethodRouter {
    let Endpoint { path, surface, whole, operations, .. } = endpoint;
    let route = |operation: &Operation| route(path, surface, operation);
    if let (Some(handler), Some(first)) = (whole, operations.first()) {
        return served(app, route(first), handler);
    }
    let allow = serve::allow(&operations);
    let rows: Arc<[(Arc<Route>, Operation)]> = operations.into_iter().map(|operation| (Arc::new(route(&operation)), operation)).collect();
    let other = Arc::new(Route::new(path, surface, DEADLINE));
    let app = Arc::clone(app);
    any(move |request: Request| {
        let asked = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let at = rows.iter().position(|(_, operation)| operation.method == *asked);
        let route = at.and_then(|at| rows.get(at)).map_or(&other, |(route, _)| route);
        let (route, rows, allow) = (Arc::clone(route), Arc::clone(&rows), allow.clone());
        edge::pass(Arc::clone(&app), route, request, move |app, call| async move {
            match at.and_then(|at| rows.get(at)) {
                Some((_, operation)) => serve::operation(app, operation, call).await,
                None => serve::no_such_method(&allow),
            }
        })
    })
}

/// Everything else: in the form of whatever lies around it.
fn unmatched(app: &Arc<App>) -> MethodRouter {
    let not_found = |surface: Surface| {
        served(app, Route::new("unmatched", surface, DEADLINE), move |_, _| async move { surface.failure(&Failure::new(Reason::NotFound)) })
    };
    let (account, own) = (not_found(Surface::Account), not_found(Surface::Own));
    let prefix = app.config.gateway.account_prefix.clone();
    any(move |request: Request| {
        let inside = request.uri().path().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let chosen = if inside { account.clone() } else { own.clone() };
        async move { chosen.oneshot(request).await }
    })
}

fn served<H, F>(app: &Arc<App>, route: Route, handler: H) -> MethodRouter
where
    H: Fn(Arc<App>, Call) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let (app, route) = (Arc::clone(app), Arc::new(route));
    any(move |request: Request| edge::pass(Arc::clone(&app), Arc::clone(&route), request, handler.clone()))
}
