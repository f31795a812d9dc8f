//! The gateway as a process of its own.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_client::AuthServiceClient,
    token::token_service_client::TokenServiceClient,
};
use carelink_verifier::Verifier;
use gateway::{Clients, Config, Gateway, GatewayOptions};
use tokio::net::TcpListener;

const PORT: u16 = 8000;

fn main() -> ExitCode {
    process::run(Service { name: "gateway", short: "gateway", ops_port: 9000 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let gateway = Gateway::build(GatewayOptions {
        config: Config::read(&mut process.settings)?,
        clients: Clients {
            auth: AuthServiceClient::new(process.channel("auth-service")),
            token: TokenServiceClient::new(process.channel("token-service")),
            audit: AuditServiceClient::new(process.channel("audit-service")),
        },
        verifier: Verifier::start(carelink_verifier::Config::named("gateway"), process.channel("token-service")),
        sealing: None, // audit-service's key comes with its address
        clock: process.clock.clone(),
        random: process.random.clone(),
        listeners: listen().await?,
    })?;
    let readiness = Readiness::default();
    readiness.require("gateway", gateway.ready());
    let shutdown = process.shutdown();
    process.serve(Vec::new(), readiness, gateway.serve(shutdown)).await
}

/// Both loopback addresses, because `localhost` may mean either first; a machine without IPv6 has one.
async fn listen() -> std::io::Result<Vec<TcpListener>> {
    let mut listeners = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await?];
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, PORT))).await {
        Ok(listener) => listeners.push(listener),
        Err(error) => tracing::warn!(%error, "nothing listens on [::1]"),
    }
    Ok(listeners)
}
