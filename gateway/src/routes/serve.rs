//! What happens before and after a handler of ours: who asks is judged before it runs, and what it refuses is told only if its row says
//! so. A handler for users cannot be reached without a good token, whatever it forgets.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use carelink_platform::errors::{Failure, Reason};
use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, SET_COOKIE, WWW_AUTHENTICATE},
};

use super::operation::{Access, Operation, Outcome, Refused, UserHandler};
use crate::{answer::Surface, app::App, edge::Call, v1::Asker};

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"carelink\"");
const TOKEN_REFUSED: HeaderValue = HeaderValue::from_static("Bearer realm=\"carelink\", error=\"invalid_token\"");

/// When to try again where nobody says.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Serves one operation.
pub(super) async fn operation(app: Arc<App>, operation: &Operation, call: Call) -> Response {
    let outcome = match operation.access {
        Access::Open(handler) => handler(app, call).await,
        Access::User(handler) => asked(app, operation, call, None, handler).await,
        Access::Role(roles, handler) => asked(app, operation, call, Some(roles), handler).await,
        Access::Elsewhere => Err(Reason::NotFound.into()),
    };
    outcome.unwrap_or_else(|refused| tell(operation, refused))
}

async fn asked(app: Arc<App>, operation: &Operation, call: Call, roles: Option<&[&str]>, handler: UserHandler) -> Outcome {
    let asker = Asker::of(&app, &call, &operation.method).await?;
    if roles.is_some_and(|roles| !roles.iter().any(|role| asker.claims.has_role(role))) {
        return Err(Reason::RoleRequired.into());
    }
    handler(app, call, asker).await
}

/// A refusal as problem+json. What the row does not name is an error of ours, whatever a service called it.
fn tell(operation: &Operation, Refused { failure, cookies, over }: Refused) -> Response {
    let known = operation.reasons().contains(&failure.reason());
    if !known {
        tracing::error!(reason = failure.reason().as_str(), operation = operation.name, "a refusal that its route does not know");
    }
    let failure = if known { failure } else { Failure::new(Reason::Internal) };
    let mut response = match (failure.reason(), over) {
        (Reason::Throttled, Some(over)) => Surface::Own.over_budget(over),
        (Reason::Throttled, None) => Surface::Own.throttled(failure.retry().unwrap_or(DEFAULT_WAIT)),
        _ => Surface::Own.failure(&failure),
    };
    let status = response.status();
    let headers = response.headers_mut();
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    if status == StatusCode::UNAUTHORIZED {
        let nothing_presented = matches!(failure.reason(), Reason::TokenMissing | Reason::CredentialsInvalid);
        headers.insert(WWW_AUTHENTICATE, if nothing_presented { CHALLENGE } else { TOKEN_REFUSED }); // RFC 6750, 3
    }
    response
}

/// No operation has this method.
pub(super) fn no_such_method(allow: &HeaderValue) -> Response {
    let mut response = Surface::Own.failure(&Failure::new(Reason::MethodNotAllowed));
    response.headers_mut().insert(ALLOW, allow.clone());
    response
}

/// What a path allows.
pub(super) fn allow(operations: &[Operation]) -> HeaderValue {
    let mut methods = Vec::new();
    for operation in operations {
        methods.push(operation.method.as_str());
        methods.extend((operation.method == Method::GET).then_some("HEAD"));
    }
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
