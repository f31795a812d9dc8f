//! The house: four services, each behind its own stack, calling each other through the generated clients. No port but HTTP and ops.

use std::sync::{Arc, OnceLock};

use carelink_platform::{
    clock::Clock,
    grpc::{Channel, Stack, as_operator, in_process},
    lifecycle::Shutdown,
    operations,
    random::Random,
    seal::{PURPOSE, SealingKeyPair},
    verified::verified_by,
};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_client::AuthServiceClient,
    token::token_service_client::TokenServiceClient,
};
use carelink_verifier::{Verifier, Watcher};
use tokio::net::TcpListener;

use super::{directory::Directory, settings::Settings};

/// Everything, built and not yet running.
pub(super) struct House {
    auth: auth_service::App,
    token: token_service::App,
    audit: audit_service::App,
    gateway: gateway::Gateway,
    watcher: Watcher,
    clock: Clock,
    random: Random,
}

impl House {
    /// Opens the databases and keys, and connects the services.
    pub(super) async fn build(
        settings: Settings,
        directory: &Directory,
        listeners: Vec<TcpListener>,
        clock: &Clock,
        random: &Random,
    ) -> anyhow::Result<Self> {
        let sealing = SealingKeyPair::from_secret(&directory.master.derive(PURPOSE))?;
        // The verifier hears of revocations from token-service, which is built after those who ask it.
        let verifier: Arc<OnceLock<Verifier>> = Arc::default();
        let verified = || {
            let verifier = Arc::clone(&verifier);
            verified_by(move || verifier.get().cloned())
        };

        let audit = audit_service::App::build(audit_service::Options {
            config: settings.audit,
            database: directory.database("audit").into(),
            clock: clock.clone(),
            random: random.clone(),
            sealing: sealing.clone(),
            hooks: verified(),
        })
        .await?;
        if directory.new_master {
            audit.record_key(directory.master.id(), "master").await?;
        }
        let audit_for = |name| AuditServiceClient::new(in_process(audit.stack(), name));

        let token = token_service::App::build(token_service::Options {
            config: settings.token,
            database: directory.database("token").into(),
            clock: clock.clone(),
            random: random.clone(),
            master: directory.master.clone(),
            sealing: sealing.public().clone(),
            assertion_keys: vec![auth_service::assertion_key(&directory.master)?.public_key],
            backlog: settings.audit,
            audit: audit_for("token-service"),
        })
        .await?;
        let token_for = |name| TokenServiceClient::new(in_process(token.stack(), name));

        let auth = auth_service::App::build(auth_service::Options {
            config: settings.auth,
            mail: settings.mail,
            backlog: settings.audit,
            database: directory.database("auth").into(),
            clock: clock.clone(),
            random: random.clone(),
            master: directory.master.clone(),
            sealing: sealing.public().clone(),
            token: token_for("auth-service"),
            audit: audit_for("auth-service"),
            hooks: verified(),
            first_administrator_file: Some(directory.first_admin()),
        })
        .await?;

        let (judging, watcher) = Verifier::new(settings.verifier.named("gateway"), in_process(token.stack(), "gateway"));
        let verifier = verifier.get_or_init(|| judging).clone();
        let gateway = gateway::Gateway::build(gateway::GatewayOptions {
            config: settings.gateway,
            clients: gateway::Clients {
                auth: AuthServiceClient::new(in_process(auth.stack(), "gateway")),
                token: token_for("gateway"),
                audit: audit_for("gateway"),
            },
            verifier,
            sealing: Some(sealing.public().clone()),
            clock: clock.clone(),
            random: random.clone(),
            listeners,
        })?;
        Ok(Self { auth, token, audit, gateway, watcher, clock: clock.clone(), random: random.clone() })
    }

    /// What operators may call over the control socket.
    pub(super) fn stacks(&self) -> Vec<Stack> {
        let operations = operations::stack("carelink", self.audit.told(), self.clock.clone(), self.random.clone());
        vec![self.auth.stack(), self.token.stack(), self.audit.stack(), operations]
    }

    /// Whether requests can be judged.
    pub(super) fn gateway_ready(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        self.gateway.ready()
    }

    /// The first administrator and a one-time password, where there has never been one (C6).
    pub(super) async fn first_administrator(&self) -> anyhow::Result<Option<auth_service::FirstAdministrator>> {
        Ok(self.auth.first_administrator().await?)
    }

    /// What this process does by itself it does as the operator who started it.
    pub(super) fn auth_as_operator(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(as_operator(self.auth.stack()))
    }

    /// Runs until the stop is requested. The edge stops first, then whoever it called, and the trail last, so that nothing is left unsaid.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let Self { auth, token, audit, gateway, watcher, .. } = self;
        let (stop_services, stop_audit) = (Shutdown::new(), Shutdown::new());
        let services = {
            let (auth, token) = (tokio::spawn(auth.run(stop_services.clone())), tokio::spawn(token.run(stop_services.clone())));
            async move {
                let _ = tokio::join!(auth, token); // a panic in one has been logged by the runtime
            }
        };
        let audit = tokio::spawn(audit.run(stop_audit.clone()));
        let watching = tokio::spawn(watcher.run());
        gateway.serve(shutdown).await;
        watching.abort();
        stop_services.request();
        services.await;
        stop_audit.request();
        let _ = audit.await;
    }
}
