//! The ops port: `/livez`, `/readyz`, `/metrics`. Never the one that clients reach.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    clock::{Clock, Timestamp},
    lifecycle::Shutdown,
    telemetry,
};

/// How whoever looks after a deployment calls itself; its reading of the metrics is no scraping.
pub const DOCTOR: &str = "carelink-doctor";

/// How often dependencies are asked, and how long they have to answer.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What must hold before a process takes traffic. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Vec<(&'static str, Check)>>>);

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.failing()).finish()
    }
}

impl Readiness {
    /// Adds a condition; it is asked at every `/readyz` and must not block.
    pub fn require(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((name, Arc::new(check)));
    }

    /// Adds a dependency that takes time to ask: it is asked every second, has three to answer, and is known by its last answer.
    pub fn probe<F, E>(&self, name: &'static str, ask: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send,
        E: Display,
    {
        let said = Arc::new(Mutex::new(Err("not asked yet".to_owned())));
        let last = Arc::downgrade(&said);
        self.require(name, move || said.lock().unwrap_or_else(PoisonError::into_inner).clone());
        tokio::spawn(async move {
            loop {
                let answer = match timeout(PATIENCE, ask()).await {
                    Ok(answer) => answer.map_err(|why| why.to_string()),
                    Err(_) => Err("does not answer".to_owned()),
                };
                let Some(last) = last.upgrade() else { return };
                let before = std::mem::replace(&mut *last.lock().unwrap_or_else(PoisonError::into_inner), answer.clone());
                match (before.is_ok(), answer) {
                    (true, Err(why)) => tracing::error!(dependency = name, %why, "not ready any more"),
                    (false, Ok(())) => tracing::info!(dependency = name, "ready"),
                    _ => {}
                }
                drop(last);
                sleep(ASKED_EVERY).await;
            }
        });
    }

    /// The conditions that do not hold, with why.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        checks.into_iter().filter_map(|(name, check)| check().err().map(|why| (name, why))).collect()
    }
}

/// Serves the ops port until the stop is requested; not ready as soon as it is announced.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: Shutdown) {
    let (metrics, clock) = (telemetry::metrics_handle(), Clock::system());
    let (began, scraped) =
        (metrics::gauge!("carelink_process_start_timestamp_seconds"), metrics::gauge!("carelink_ops_scraped_timestamp_seconds"));
    began.set(seconds(clock.now()));
    scraped.set(0.0);
    let upkeep = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            metrics.run_upkeep();
        }
    };
    let stopping = shutdown.clone();
    let ready = move || async move {
        let mut failing = readiness.failing();
        if stopping.is_announced() {
            failing.push(("shutdown", "stopping".to_owned()));
        }
        let lines: String = failing.iter().map(|(name, why)| format!("{name}: {why}\n")).collect();
        if failing.is_empty() { (StatusCode::OK, "ready\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, lines) }
    };
    let render = move |headers: HeaderMap| async move {
        let page = metrics.render();
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        if !agent.starts_with(DOCTOR) {
            scraped.set(seconds(clock.now()));
        }
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
    };
    let router = Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready)).route("/metrics", get(render));
    tokio::select! {
        served = async { axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.requested().await }).await } => {
            if let Err(error) = served {
                tracing::error!(%error, "the ops port stopped");
            }
        }
        () = upkeep => {}
    }
}

#[allow(clippy::cast_precision_loss)] // a gauge
fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// Binds the ops port.
///
/// # Errors
/// Where the port is taken.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn metrics_tell_when_somebody_read_them_before_who_is_no_doctor() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let serving = tokio::spawn(serve(listener, Readiness::default(), shutdown.clone()));
        let gauge = async |agent: &str, name: &str| -> f64 {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
            page.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        let scraped = "carelink_ops_scraped_timestamp_seconds ";
        assert_eq!(gauge("carelink-doctor/1", scraped).await, 0.0);
        assert_eq!(gauge("Prometheus/2.42", scraped).await, 0.0, "never before");
        assert!(gauge("carelink-doctor/1", scraped).await >= gauge("carelink-doctor/1", "carelink_process_start_timestamp_seconds ").await);
        shutdown.request();
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_is_known_by_its_last_answer_and_silence_is_one() {
        let (readiness, silent) = (Readiness::default(), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&silent);
        readiness.probe("database", move || {
            let silent = asked.load(Ordering::SeqCst);
            async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                Ok::<_, String>(())
            }
        });
        assert_eq!(readiness.failing(), [("database", "not asked yet".to_owned())]);
        let until = async |failing: usize| {
            while readiness.failing().len() != failing {
                sleep(Duration::from_millis(10)).await;
            }
        };
        until(0).await;
        silent.store(true, Ordering::SeqCst);
        until(1).await;
        assert_eq!(readiness.failing(), [("database", "does not answer".to_owned())]);
        silent.store(false, Ordering::SeqCst);
        until(0).await;
    }
}
