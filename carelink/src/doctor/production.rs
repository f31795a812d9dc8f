//! `carelink doctor --production`: the predecessor's list before going live, each line with a verdict.

use std::time::Duration;

use super::{
    Finding, Patient,
    running::{Looked, average, lately, over, scraped},
    stores::Stores,
};
use crate::bench::{CALL, REFRESH};

/// Metrics that nobody has collected for longer are collected by nobody.
const LATELY: Duration = Duration::from_secs(300);

/// The list, in its order.
pub(super) fn list(patient: &Patient, looked: &Looked, stores: &Stores) -> Vec<Finding> {
    vec![
        argon2id(patient, stores),
        indexes(stores),
        redis(patient, looked),
        encrypted(patient),
        collected(patient, looked),
        quick("refresh", average(looked, &["/token/refresh/", "/session/refresh"]), REFRESH),
        quick("call", average(looked, &["/me/", "/v1/sessions"]), CALL),
    ]
}

fn argon2id(patient: &Patient, stores: &Stores) -> Finding {
    if patient.configured.password.cheap() {
        return Finding::bad(
            "argon2id",
            "new hashes cost less than OWASP's cheapest recommendation",
            "remove password.argon2 from the configuration",
        );
    }
    match stores.other_hashers() {
        Some(0) => Finding::ok("argon2id", "every password is hashed with it"),
        Some(others) => Finding::ok("argon2id", format!("in use; {others} users have a predecessor's hash until their next sign-in")),
        None => {
            Finding::bad("argon2id", "the users' database cannot be looked at", "run this where it can be: --data, or the owner's --config")
        }
    }
}

fn indexes(stores: &Stores) -> Finding {
    match stores.missing_indexes() {
        Some(missing) if missing.is_empty() => Finding::ok("indexes", "all there"),
        Some(missing) => {
            Finding::bad("indexes", format!("missing or invalid: {}", missing.join(", ")), "make them again as the migrations say")
        }
        None => {
            Finding::bad("indexes", "not every database can be looked at", "run this where they can be: --data, or the owner's --config")
        }
    }
}

fn redis(patient: &Patient, looked: &Looked) -> Finding {
    let limits = &patient.configured.gateway.limits;
    let shared: Vec<f64> = looked.metrics().filter_map(|metrics| metrics.least("carelink_limits_shared")).collect();
    let named = limits.redis_url.is_some() || limits.redis_url_file.is_some();
    match shared.iter().copied().reduce(f64::min) {
        Some(least) if least > 0.0 => Finding::ok("redis", "answers; limits are shared"),
        Some(_) => Finding::bad("redis", "does not answer", "see whether it runs and REDIS_URL is right"),
        None if patient.is_one_process() && !named => Finding::ok("redis", "not needed: one process keeps its limits by itself"),
        None if named => Finding::bad("redis", "no gateway says that it answers", "give every gateway's ops port with --ops"),
        None => {
            Finding::bad("redis", "there is none: each gateway limits by itself", "set REDIS_URL; give every gateway's ops port with --ops")
        }
    }
}

fn encrypted(patient: &Patient) -> Finding {
    let gateway = &patient.configured.gateway.gateway;
    if gateway.tls_certificate_file.is_some() || patient.url.starts_with("https://") {
        Finding::ok("tls", "spoken to clients")
    } else if gateway.trusted_proxies.is_empty() {
        let advice =
            "put a proxy with TLS in front and name it in gateway.trusted_proxies, or set gateway.tls_certificate_file and tls_key_file";
        Finding::bad("tls", "neither spoken here nor by a proxy that is named: passwords cross the network in the clear", advice)
    } else {
        Finding::ok("tls", "a proxy is named in front, which has to speak it")
    }
}

fn collected(patient: &Patient, looked: &Looked) -> Finding {
    let advice = "let Prometheus, or whatever alarms you, read /metrics of every ops port at least every few minutes";
    match scraped(looked) {
        Some(at) if patient.now.since(at) <= LATELY => Finding::ok("metrics", format!("collected, {}", lately(patient.now, at))),
        Some(at) => Finding::bad("metrics", format!("not collected lately: {}", lately(patient.now, at)), advice),
        None => Finding::bad("metrics", "nobody has collected them since the start", advice),
    }
}

fn quick(what: &'static str, measured: Option<(Duration, u64)>, goal: Duration) -> Finding {
    let goal_text = format!("under {} ms", goal.as_millis());
    match measured {
        Some((average, count)) => {
            let says = format!("{:.1} ms {}", average.as_secs_f64() * 1_000.0, over(count));
            if average < goal {
                Finding::ok(what, says)
            } else {
                Finding::bad(what, says, format!("it should be {goal_text}: carelink doctor says what is slow"))
            }
        }
        None => Finding::bad(
            what,
            "none was measured since the start",
            format!("it should be {goal_text}: measure with carelink bench, then look again"),
        ),
    }
}
