//! Wiring: what a gateway is made of, and how long it runs.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use bytes::Bytes;
use carelink_platform::{
    clock::Clock,
    config::{ConfigError, fingerprint},
    lifecycle::Shutdown,
    random::Random,
    seal::SealingPublicKey,
};
use carelink_verifier::{Status, Verifier};
use tokio::net::TcpListener;

use crate::{
    account::{Metadata, Names},
    body::Room,
    clients::Clients,
    config::{Config, UNREADY_AFTER},
    crowd::Crowd,
    door::Door,
    hosts::AllowedHosts,
    limits::Limits,
    openapi, routes,
    server::Server,
    tls::Tls,
    traces::Traces,
    trail::{self, Turned},
};

/// What a gateway is built from.
pub struct GatewayOptions {
    /// The sections `gateway` and `limits`.
    pub config: Config,
    /// The services it calls.
    pub clients: Clients,
    /// Checks access tokens; somebody runs its watcher.
    pub verifier: Verifier,
    /// What addresses in events are sealed to; none leaves them out.
    pub sealing: Option<SealingPublicKey>,
    /// The time of events.
    pub clock: Clock,
    /// Trace and event ids.
    pub random: Random,
    /// Where it listens; already bound.
    pub listeners: Vec<TcpListener>,
}

impl std::fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What every handler works with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    pub(crate) verifier: Verifier,
    pub(crate) random: Random,
    pub(crate) traces: Traces,
    pub(crate) hosts: AllowedHosts,
    pub(crate) limits: Limits,
    pub(crate) door: Door,
    pub(crate) bodies: Room,
    pub(crate) names: Names,
    pub(crate) metadata: Metadata,
    pub(crate) throttled: Turned,
    /// /openapi.json.
    pub(crate) document: Bytes,
}

/// The HTTP edge, built and not yet serving.
pub struct Gateway {
    app: Arc<App>,
    router: Router,
    log: trail::Log,
    tls: Option<Tls>,
    listeners: Vec<TcpListener>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Puts the parts together.
    ///
    /// # Errors
    /// Where the configuration does not hold together, or not with where it listens.
    pub fn build(options: GatewayOptions) -> Result<Self, ConfigError> {
        let GatewayOptions { config, clients, verifier, sealing, clock, random, listeners } = options;
        let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        config.validate(&addresses)?;
        let tls = Tls::open(&config.gateway)?;
        let (throttled, log) = trail::new(clients.clone(), verifier.subscribe(), sealing, clock, random.clone());
        let endpoints = routes::endpoints(&config.gateway);
        let app = Arc::new(App {
            document: openapi::made(&endpoints),
            hosts: AllowedHosts::new(&config.gateway.allowed_hosts),
            limits: Limits::new(&config.limits)?,
            door: Door::new(),
            bodies: Room::new(),
            names: Names::new(),
            metadata: Metadata::new(&config.gateway.username_field),
            traces: Traces::new(&random),
            config,
            clients,
            verifier,
            random,
            throttled,
        });
        Ok(Self { router: routes::mount(&app, endpoints), app, log, tls, listeners })
    }

    /// Whether it can judge tokens and reaches token-service; for the readiness probe.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn ready(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let verifier = self.app.verifier.clone();
        move || readiness(&verifier.status())
    }

    /// Serves until the stop is requested, then answers what is under way and writes what is left to write.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { app, router, log, tls, listeners } = self;
        if let Some(tls) = &tls {
            shutdown.spawn(tls.clone().watch(shutdown.clone()));
        }
        let stop_log = Shutdown::new();
        let fingerprint = fingerprint(&app.config);
        let logging = log.run(&fingerprint, stop_log.clone());
        let keeping = app.limits.keep();
        let serving = async {
            let crowd = Crowd::new(&app.config.gateway.trusted_proxies);
            Box::pin(Server { router, tls, crowd, shutdown }.serve(listeners)).await;
            stop_log.request();
        };
        tokio::select! {
            _ = futures::future::join(serving, logging) => {}
            () = keeping => {}
        }
    }

    /// Its paths as a service, for tests without a network.
    #[cfg(test)]
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// What it says of itself.
    #[cfg(test)]
    pub(crate) fn document(&self) -> Bytes {
        self.app.document.clone()
    }
}

/// The stream of revocations comes the same way as every answer of token-service: without it nobody can sign in here or refresh. A
/// restart of theirs takes us out of service nowhere.
fn readiness(view: &Status) -> Result<(), String> {
    view.readiness()?;
    match view.stale_since.map(|since| since.elapsed()) {
        Some(stale) if stale >= UNREADY_AFTER => Err(format!("no word from token-service for {} s", stale.as_secs())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn v3_a_gateway_that_hears_nothing_goes_out_of_service_and_comes_back() {
        let fresh = crate::tests::verifier().status();
        assert_eq!(readiness(&fresh), Ok(()));
        let blind = Status { ready: false, ..fresh.clone() };
        assert!(readiness(&blind).unwrap_err().contains("no snapshot"));
        let stale = Status { stale_since: Some(Instant::now()), ..fresh.clone() };
        assert_eq!(readiness(&stale), Ok(()));
        tokio::time::sleep(UNREADY_AFTER).await;
        assert_eq!(readiness(&stale).unwrap_err(), "no word from token-service for 10 s");
        assert_eq!(readiness(&fresh), Ok(()));
    }
}
