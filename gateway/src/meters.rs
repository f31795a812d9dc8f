//! Rate, errors and duration of a route. A meter's handles are made once, at the first use of each combination.

use std::sync::OnceLock;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use tokio::time::Instant;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const STATUSES: [u16; 16] = [200, 301, 304, 400, 401, 404, 405, 408, 409, 413, 415, 429, 403, 431, 500, 503];

/// What is counted of one route.
pub(crate) struct Meter {
    route: &'static str,
    requests: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
    duration: OnceLock<Histogram>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Meter").field(&self.route).finish()
    }
}

impl Meter {
    pub(crate) fn new(route: &'static str) -> Self {
        Self { route, requests: Default::default(), duration: OnceLock::new() }
    }

    pub(crate) fn record(&self, method: &Method, status: StatusCode, began: Instant) {
        let (at, name) = METHODS.iter().enumerate().find(|(_, name)| **name == method.as_str()).unwrap_or((METHODS.len() - 1, &"other"));
        let place = STATUSES.iter().position(|known| *known == status.as_u16());
        let count =
            || counter!("carelink_http_requests_total", "route" => self.route, "method" => *name, "status" => status.as_u16().to_string());
        match place.and_then(|place| self.requests.get(at)?.get(place)) {
            Some(kept) => kept.get_or_init(count).increment(1),
            None => count().increment(1),
        }
        self.duration
            .get_or_init(|| histogram!("carelink_http_request_duration_seconds", "route" => self.route))
            .record(began.elapsed().as_secs_f64());
    }
}
