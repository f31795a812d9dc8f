//! Answers in general: JSON, and failures in the form of whichever surface they happen on.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use carelink_platform::{
    context::TraceContext,
    errors::{Failure, Reason},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use crate::{limits::Throttled, rarely::Rarely};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Whose form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// The predecessor's paths: `{"detail", "code"}`.
    Account,
    /// Our own: RFC 9457.
    Own,
}

/// An answer with a body of this type.
pub(crate) fn with_body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    with_body(status, JSON, to_json(body))
}

fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default() // our own types, which serialize
}

impl Surface {
    /// A failure in this surface's form. What is behind it, where nobody else knows, is logged here, once; that a service is away
    /// only now and then.
    pub(crate) fn failure(self, failure: &Failure) -> Response {
        let reason = failure.reason();
        static AWAY: Rarely = Rarely::new();
        if let Some(cause) = std::error::Error::source(failure)
            && (reason == Reason::Internal || AWAY.now())
        {
            tracing::error!(reason = reason.as_str(), cause = %cause, "a request failed");
        }
        self.tell(reason, failure.text(), failure.retry())
    }

    /// A budget is used up; with how much it is, and the true time to wait.
    pub(crate) fn over_budget(self, throttled: Throttled) -> Response {
        let mut response = self.throttled(throttled.retry_after);
        if let Some([policy, level]) = throttled.headers(whole_seconds(throttled.retry_after)) {
            response.headers_mut().insert(RATE_LIMIT_POLICY, policy);
            response.headers_mut().insert(RATE_LIMIT, level);
        }
        response
    }

    /// Too many, or too many at once; with the true time to wait.
    pub(crate) fn throttled(self, retry_after: Duration) -> Response {
        let reason = Reason::Throttled;
        match self {
            Self::Account => {
                let seconds = whole_seconds(retry_after);
                let plural = if seconds == 1 { "" } else { "s" };
                let text = format!("Request was throttled. Expected available in {seconds} second{plural}.");
                self.tell(reason, &text, Some(retry_after))
            }
            Self::Own => self.tell(reason, reason.title(), Some(retry_after)),
        }
    }

    /// A reason in this surface's form.
    pub(crate) fn tell(self, reason: Reason, text: &str, retry_after: Option<Duration>) -> Response {
        let status = StatusCode::from_u16(reason.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = reason.as_str();
        let mut response = match self {
            Self::Account => json(status, &Detail { detail: text, code: Some(code) }),
            Self::Own => {
                let trace_id = TraceContext::current().map(|trace| trace.trace_hex());
                let problem =
                    Problem { r#type: "about:blank", title: reason.title(), status: status.as_u16(), detail: text, code, trace_id };
                with_body(status, PROBLEM, to_json(&problem))
            }
        };
        let wait = retry_after.or_else(|| (status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1)));
        if let Some(wait) = wait {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// Seconds, rounded up: waiting so long is long enough.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The predecessor's form of an error.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    pub(crate) detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'a str>,
}

/// RFC 9457, with our stable code and the trace id.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_too_early() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (2_999, 3)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), seconds);
        }
    }

    #[test]
    fn a_503_always_says_when_to_try_again() {
        for surface in [Surface::Account, Surface::Own] {
            let response = surface.failure(&Failure::new(Reason::Unready));
            assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &HeaderValue::from(1)));
        }
    }
}
