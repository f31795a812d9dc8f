//! What the machine can do: how `localhost` resolves, what an fsync takes, what a password's hash takes, what time it is.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use auth_service::pool::{Pool, PoolOptions};
use carelink_platform::random::Random;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{Finding, Patient, ago, running::Looked, stores::Stores};
use crate::{bench::SIGN_IN, http::Base};

/// A client that waits longer than that for an address that nobody listens on notices.
const SLOW_LOOKUP: Duration = Duration::from_millis(100);
/// A name that is not answered in that time is not answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Slower, and every change waits for it.
const SLOW_FSYNC: Duration = Duration::from_millis(20);
/// Quicker than any disk that keeps its word.
const NO_FSYNC: Duration = Duration::from_micros(30);
/// Clocks that differ by more confuse people who compare logs; CareLink itself decides by the database's.
const SKEW: f64 = 5.0;

/// How the name of the deployment resolves, and whether every address that it has is answered.
pub(super) async fn resolution(patient: &Patient) -> Vec<Finding> {
    let Ok(base) = Base::parse(&patient.url) else {
        return vec![Finding::bad("resolution", format!("{} is no address", patient.url), "name one with --url")];
    };
    let local = ["127.0.0.1", "::1", "localhost"].contains(&base.host.as_str());
    let name = if local { "localhost".to_owned() } else { base.host.clone() };
    let check = format!("resolution of {name}");
    let began = Instant::now();
    let found: Vec<SocketAddr> = match timeout(PATIENCE, lookup_host((name.as_str(), base.port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return vec![Finding::bad(check, error.to_string(), "add it to /etc/hosts or the DNS")],
        Err(_) => return vec![Finding::bad(check, "no answer in 5 s", "see which DNS server does not answer (/etc/resolv.conf)")],
    };
    let took = began.elapsed();
    let mut findings = Vec::new();
    let first = found.first().map(|address| address.ip().to_string()).unwrap_or_default();
    let says = format!("{first} first, in {:.1} ms", took.as_secs_f64() * 1_000.0);
    findings.push(if took > SLOW_LOOKUP {
        Finding::warn(check.clone(), says, "every client pays that for its first request: put the name into /etc/hosts, or use the address")
    } else {
        Finding::ok(check.clone(), says)
    });
    for address in found {
        let began = Instant::now();
        let opened = timeout(PATIENCE, TcpStream::connect(address)).await;
        let took = began.elapsed();
        let advice = if address.is_ipv6() {
            "clients that try ::1 first wait for it, on Windows two seconds each time: let it listen on [::1] too, or use 127.0.0.1 in URLs"
        } else {
            "start it there, or let the name resolve to where it listens"
        };
        match opened {
            Ok(Ok(_)) => {
                let says = format!("answers in {:.1} ms", took.as_secs_f64() * 1_000.0);
                findings.push(Finding::ok(format!("listener {address}"), says));
            }
            Ok(Err(error)) => findings.push(Finding::warn(format!("listener {address}"), error.to_string(), advice)),
            Err(_) => findings.push(Finding::warn(format!("listener {address}"), "no answer in 5 s", advice)),
        }
    }
    findings
}

/// What an fsync takes where the databases are, and how much room is left.
pub(super) fn disk(patient: &Patient) -> Vec<Finding> {
    let Some(directory) = &patient.deployment.directory else { return Vec::new() };
    let mut findings = vec![match fsync(directory) {
        Ok(took) => {
            let says = format!("{:.2} ms", took.as_secs_f64() * 1_000.0);
            if took > SLOW_FSYNC {
                Finding::warn(
                    "fsync",
                    says,
                    "every change waits for one: a disk with a battery-backed or power-safe cache takes a tenth of that",
                )
            } else if took < NO_FSYNC {
                let advice = "no disk is that quick: in memory, or a cache that says what is not so; what is acknowledged may be gone after a power cut";
                Finding::warn("fsync", says, advice)
            } else {
                Finding::ok("fsync", says)
            }
        }
        Err(error) => Finding::bad(
            "fsync",
            format!("nothing can be written there: {error}"),
            "see who owns the directory, and whether the disk is full",
        ),
    }];
    if let Ok(found) = rustix::fs::statvfs(directory) {
        let free = found.f_bavail.saturating_mul(found.f_frsize) >> 20;
        let says = format!("{free} MiB free");
        findings.push(match free {
            0..200 => Finding::bad("room", says, "make room now: what cannot be kept is refused with 503"),
            200..2_000 => Finding::warn("room", says, "make room"),
            _ => Finding::ok("room", says),
        });
    }
    findings
}

/// The median of some.
fn fsync(directory: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::Builder::new().prefix(".carelink-").suffix(".part").tempfile_in(directory)?;
    let mut took = Vec::new();
    for _ in 0..9 {
        file.write_all(&[0; 4_096])?;
        let began = Instant::now();
        file.as_file().sync_data()?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took.get(took.len() / 2).copied().unwrap_or_default())
}

/// What a new hash takes here, and what is kept of other hashers.
pub(super) async fn hasher(patient: &Patient, stores: &Stores, random: &Random) -> Vec<Finding> {
    let config = &patient.configured.password;
    let cost = config.argon2;
    let named = format!("Argon2id, {} MiB, {} passes", cost.memory_kib / 1024, cost.iterations);
    let mut findings = Vec::new();
    match measure(config, random).await {
        Some(took) => {
            let says = format!("{named}: {:.0} ms here", took.as_secs_f64() * 1_000.0);
            let better = recommended(cost.iterations, took);
            findings.push(if config.cheap() {
                let advice = "cheaper than OWASP's cheapest recommendation: remove password.argon2, or choose at least 7 MiB and 5 passes";
                Finding::bad("hasher", says, advice)
            } else if took > SIGN_IN / 2 {
                Finding::warn("hasher", says, format!("a sign-in should take less than {} ms: lower password.argon2", SIGN_IN.as_millis()))
            } else if better > cost.iterations * 4 {
                Finding::warn("hasher", says, format!("this machine can do more: password.argon2.iterations = {better} takes about 100 ms"))
            } else {
                Finding::ok("hasher", says)
            });
        }
        None => findings.push(Finding::bad("hasher", format!("{named}: cannot be done here"), "see whether there is memory for it")),
    }
    if let Some(others) = stores.other_hashers() {
        findings.push(match others {
            0 => Finding::ok("stored hashes", "Argon2id, all of them"),
            some => Finding::warn(
                "stored hashes",
                format!("{some} users have one of the predecessor's"),
                "each becomes Argon2id at its owner's next sign-in; see who does not come: carelink user list",
            ),
        });
    }
    findings
}

async fn measure(config: &auth_service::Config, random: &Random) -> Option<Duration> {
    let options = PoolOptions { threads: 1, cost: config.argon2, queue: Duration::from_secs(8), random: random.clone() };
    let pool = Pool::start(options).ok()?;
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        pool.hash(zeroize::Zeroizing::new(b"a password of the usual length".to_vec())).await.ok()?;
        took.push(began.elapsed());
    }
    took.sort();
    took.get(1).copied() // the first one takes the memory
}

/// Passes that take about a tenth of a second.
fn recommended(iterations: u32, took: Duration) -> u32 {
    let one = took.as_secs_f64() / f64::from(iterations.max(1));
    let passes = (0.1 / one.max(0.000_1)).floor().clamp(1.0, 64.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 1 and 64
    let passes = passes as u32;
    passes
}

/// Whether it is as late as everybody else thinks.
pub(super) fn clock(patient: &Patient, looked: &Looked, stores: &Stores) -> Vec<Finding> {
    let mut findings = Vec::new();
    let compared = looked.date.map(|at| ("the gateway's", at)).into_iter().chain(stores.clock().map(|at| ("PostgreSQL's", at)));
    for (whose, at) in compared {
        #[allow(clippy::cast_precision_loss)] // seconds are enough
        let apart = (patient.now.as_micros() - at.as_micros()) as f64 / 1_000_000.0;
        let says = format!("{apart:+.1} s to {whose}");
        findings.push(if apart.abs() > SKEW {
            Finding::warn(
                "clock",
                says,
                "let both follow a time server (systemd-timesyncd, chrony); tokens are judged by the database's clock",
            )
        } else {
            Finding::ok("clock", says)
        });
    }
    match stores.newest_event() {
        Some(newest) if newest > patient.now + Duration::from_secs(5) => findings.push(Finding::bad(
            "clock",
            format!("the trail's newest event is of {newest}, which is not yet"),
            "the clock was set back, or was ahead: see clock.stepped in carelink audit list, and let it follow a time server",
        )),
        Some(newest) => findings.push(Finding::ok("clock", format!("the trail's newest event is from {}", ago(patient.now, newest)))),
        None => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_recommended_for_a_tenth_of_a_second() {
        assert_eq!(recommended(2, Duration::from_millis(20)), 10);
        assert_eq!(recommended(2, Duration::from_secs(2)), 1);
        assert_eq!(recommended(1, Duration::ZERO), 64);
    }

    #[test]
    fn an_fsync_is_measured_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fsync(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
