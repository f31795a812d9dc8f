//! The gateway as a process of its own.

use std::process::ExitCode;

use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_client::AuthServiceClient,
    token::token_service_client::TokenServiceClient,
};
use gateway::{Clients, Config, Gateway, GatewayOptions};

fn main() -> ExitCode {
    process::run(Service { name: "gateway", short: "gateway", port: 8000, ops_port: 9000 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let config = Config::read(&mut process.settings)?;
    let listen = process.listen().map_or_else(|| config.gateway.listen.clone(), |address| vec![address]);
    let gateway = Gateway::build(GatewayOptions {
        listeners: gateway::bind(&listen).await?,
        config,
        clients: Clients {
            auth: AuthServiceClient::new(process.channel("auth-service")?),
            token: TokenServiceClient::new(process.channel("token-service")?),
            audit: AuditServiceClient::new(process.channel("audit-service")?),
        },
        verifier: process.verifier()?,
        sealing: process.sealing_key()?,
        clock: process.clock.clone(),
        random: process.random.clone(),
    })?;
    let readiness = Readiness::default();
    readiness.require("gateway", gateway.ready());
    let shutdown = process.shutdown();
    process.serve(Vec::new(), readiness, gateway.serve(shutdown)).await
}
