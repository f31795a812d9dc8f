//! What the processes say of themselves: readiness, how far behind the verifier is, what waits, what was dropped, when certificates end.

use std::time::Duration;

use carelink_platform::{clock::Timestamp, ops::DOCTOR as AGENT};

use super::{
    Finding, Patient, ago, many,
    metrics::{Metrics, label},
};
use crate::http::{Base, Http};

/// A verifier that has heard nothing for longer asks for every token.
const STALE: f64 = 5.0;
/// Certificates are renewed before.
const ENDS_SOON: f64 = 7.0 * 86_400.0;

/// One ops port.
pub(super) struct Process {
    at: String,
    ready: Result<String, String>,
    pub(super) metrics: Metrics,
}

/// One look at everything that runs.
pub(super) struct Looked {
    pub(super) processes: Vec<Process>,
    /// Whether the address that clients use answers, and how.
    answers: Result<u16, String>,
    /// The gateway's clock.
    pub(super) date: Option<Timestamp>,
}

impl Looked {
    /// Looks.
    pub(super) async fn at(patient: &Patient) -> Self {
        let mut processes = Vec::new();
        for at in &patient.ops {
            processes.push(process(at, patient).await);
        }
        let asked = async {
            let mut http = Http::new(Base::parse(&patient.url)?, AGENT, patient.ca_file.as_deref())?;
            http.get("/.well-known/jwks.json", None).await
        };
        let (answers, date) = match asked.await {
            Ok(answer) => (Ok(answer.status), date(answer.header("date"))),
            Err(error) => (Err(format!("{error:#}")), None),
        };
        Self { processes, answers, date }
    }

    /// Those that answered.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &Metrics> {
        self.processes.iter().filter(|process| process.ready.is_ok()).map(|process| &process.metrics)
    }
}

async fn process(at: &str, patient: &Patient) -> Process {
    let asked = async {
        let mut http = Http::new(Base::parse(at)?, AGENT, patient.ca_file.as_deref())?;
        let ready = http.get("/readyz", None).await?;
        let metrics = http.get("/metrics", None).await?;
        let lines = String::from_utf8_lossy(&ready.body).trim().replace('\n', "; ");
        anyhow::Ok((if ready.status == 200 { "ready".to_owned() } else { lines }, Metrics::parse(&String::from_utf8_lossy(&metrics.body))))
    };
    match asked.await {
        Ok((ready, metrics)) => Process { at: at.to_owned(), ready: Ok(ready), metrics },
        Err(error) => Process { at: at.to_owned(), ready: Err(format!("{error:#}")), metrics: Metrics::default() },
    }
}

/// One line each.
pub(super) fn findings(patient: &Patient, looked: &Looked) -> Vec<Finding> {
    let mut findings = vec![match &looked.answers {
        Ok(200) => Finding::ok("answers", format!("{} gives out the public keys", patient.url)),
        Ok(400) => Finding::warn("answers", format!("{}: 400", patient.url), "that host name is not served: see gateway.allowed_hosts"),
        Ok(status) => Finding::bad("answers", format!("{}: {status}", patient.url), "see what the gateway logs"),
        Err(error) => {
            let start = if patient.is_one_process() { "start it: carelink up" } else { "see whether the gateways run" };
            Finding::bad("answers", error.clone(), format!("{start}; is --url right?"))
        }
    }];
    for Process { at, ready, metrics } in &looked.processes {
        match ready {
            Ok(ready) if ready == "ready" => findings.push(Finding::ok(format!("process {at}"), "ready")),
            Ok(why) => {
                findings.push(Finding::bad(format!("process {at}"), format!("not ready: {why}"), "see what it misses, and what it logs"));
            }
            Err(error) => {
                findings.push(Finding::bad(format!("process {at}"), error.clone(), "see whether it runs; is --ops right?"));
                continue;
            }
        }
        findings.extend(by_metrics(metrics, patient.now));
    }
    findings
}

/// What the numbers of a process say.
fn by_metrics(metrics: &Metrics, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (labels, lag) in metrics.series("carelink_verifier_lag_seconds") {
        let check = format!("verifier {}", label(labels, "service"));
        let says = format!("{lag:.1} s behind");
        findings.push(if lag > STALE {
            Finding::bad(check, says, "it hears nothing of revocations and asks for each token: see whether token-service answers")
        } else {
            Finding::ok(check, says)
        });
    }
    if metrics.largest("carelink_limits_shared") == Some(0.0) {
        let advice = "each gateway limits by itself: see whether Redis runs and REDIS_URL is right";
        findings.push(Finding::bad("redis", "does not answer", advice));
    }
    let dropped = metrics.sum("carelink_events_dropped_total", "");
    if dropped > 0.0 {
        findings.push(Finding::warn("events", format!("{dropped} could not be told the trail"), "see whether audit-service answers"));
    }
    let outages = metrics.sum("carelink_database_outages_total", "");
    if outages > 0.0 {
        findings.push(Finding::warn(
            "outages",
            format!("the database was away {outages} times since the start"),
            "see what PostgreSQL logs",
        ));
    }
    let shed = metrics.sum("carelink_rpc_shed_total", "") + metrics.sum("carelink_hash_refused_total", "");
    if shed > 0.0 {
        findings.push(Finding::warn(
            "load",
            format!("{shed} requests were turned away since the start"),
            "more comes in than it can do: scale what sheds",
        ));
    }
    if let Some(ends) = metrics.least("carelink_tls_certificate_expires_timestamp_seconds") {
        #[allow(clippy::cast_precision_loss)] // seconds are enough
        let left = ends - now.as_secs() as f64;
        let days = format!("{:.0} days left", left / 86_400.0);
        findings.push(match left {
            left if left <= 0.0 => Finding::bad("certificate", "has ended", "renew it now: carelink pki renew"),
            left if left < ENDS_SOON => Finding::warn("certificate", days, "renew it: carelink pki renew"),
            _ => Finding::ok("certificate", days),
        });
    }
    findings
}

/// When somebody last collected the metrics, of all processes the one that was left alone for longest; none where none can say.
pub(super) fn scraped(looked: &Looked) -> Option<Timestamp> {
    let each = looked.metrics().map(|metrics| metrics.largest("carelink_ops_scraped_timestamp_seconds").unwrap_or(0.0));
    #[allow(clippy::cast_possible_truncation)] // seconds of this century
    let oldest = each.reduce(f64::min).map(|at| Timestamp::from_secs(at as i64))?;
    (oldest > Timestamp::ZERO).then_some(oldest)
}

/// The average of routes that end so, over all gateways, and of how many requests.
pub(super) fn average(looked: &Looked, endings: &[&str]) -> Option<(Duration, u64)> {
    let of = |metrics: &Metrics, name: &str| -> f64 {
        let meant = |labels: &str| endings.iter().any(|ending| label(labels, "route").ends_with(ending));
        metrics.series(name).filter(|(labels, _)| meant(labels)).map(|(_, value)| value).sum()
    };
    let sum: f64 = looked.metrics().map(|metrics| of(metrics, "carelink_http_request_duration_seconds_sum")).sum();
    let count: f64 = looked.metrics().map(|metrics| of(metrics, "carelink_http_request_duration_seconds_count")).sum();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
    (count > 0.0).then(|| (Duration::from_secs_f64(sum / count), count as u64))
}

/// Reads `Date`, which the predecessor's servers and ours write the same way (RFC 9110).
fn date(text: &str) -> Option<Timestamp> {
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|known| *known == month)? + 1;
    Timestamp::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// For a line that says how lately.
pub(super) fn lately(now: Timestamp, at: Timestamp) -> String {
    format!("last {}", ago(now, at))
}

/// For a line that says of how many.
pub(super) fn over(count: u64) -> String {
    format!("on average over {}", many(count, "request"))
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn what_hurts_is_found_in_the_numbers() {
        let text = "carelink_verifier_lag_seconds{service=\"gateway\"} 7\ncarelink_limits_shared 0\ncarelink_events_dropped_total{service=\"a\"} 2\n\
                    carelink_tls_certificate_expires_timestamp_seconds 1795507200\n";
        let found = by_metrics(&Metrics::parse(text), Timestamp::from_secs(1_795_507_200 - 86_400));
        let states: Vec<_> = found.iter().map(|finding| (finding.check.as_str(), finding.state)).collect();
        let expected = [("verifier gateway", State::Bad), ("redis", State::Bad), ("events", State::Warn), ("certificate", State::Warn)];
        assert_eq!(states, expected);
        assert!(by_metrics(&Metrics::parse("carelink_limits_shared 1\n"), Timestamp::ZERO).is_empty());
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(date("Tue, 24 Nov 2026 08:00:00 GMT"), Some(Timestamp::from_secs(1_795_507_200)));
        assert_eq!(date("yesterday"), None);
    }
}
