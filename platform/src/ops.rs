//! The ops port: `/livez`, `/readyz`, `/metrics`. Never the one that clients reach.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{lifecycle::Shutdown, telemetry};

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

    /// The conditions that do not hold, with why.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        checks.into_iter().filter_map(|(name, check)| check().err().map(|why| (name, why))).collect()
    }
}

/// Serves the ops port until the stop is requested; not ready as soon as it is announced.
pub async fn serve(listener: TcpListener, readiness: Readiness, shutdown: Shutdown) {
    let metrics = telemetry::metrics_handle();
    let upkeep = async {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
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
    let render = move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response() };
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

/// Binds the ops port.
///
/// # Errors
/// Where the port is taken.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
