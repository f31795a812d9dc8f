//! The gateway as a process of its own.

use std::process::ExitCode;

use carelink_platform::{
    errors::Failure,
    operations::Told,
    ops::Readiness,
    process::{self, Failed, Process, Service},
};
use carelink_proto::{
    audit::{AppendRequest, audit_service_client::AuditServiceClient},
    auth::auth_service_client::AuthServiceClient,
    token::token_service_client::TokenServiceClient,
};
use gateway::{Clients, Config, Gateway, GatewayOptions};

fn main() -> ExitCode {
    process::run(Service { name: "gateway", short: "gateway", port: 8000, ops_port: 9000 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let config = Config::read(&mut process.settings)?;
    let listen = process.listen().map_or_else(|| config.gateway.listen.clone(), |address| vec![address]);
    let (audit, sealing) = (AuditServiceClient::new(process.channel("audit-service")?), process.sealing_key()?);
    let trail = audit.clone();
    let tell = move |event| {
        let mut trail = trail.clone();
        async move { trail.append(AppendRequest { events: vec![event] }).await.map(|_| ()).map_err(|status| Failure::from_status(&status)) }
    };
    let told = Told::without_outbox(tell, ("gateway", sealing.clone()), process.clock.clone(), process.random.clone());
    let gateway = Gateway::build(GatewayOptions {
        listeners: gateway::bind(&listen).await?,
        config,
        clients: Clients {
            auth: AuthServiceClient::new(process.channel("auth-service")?),
            token: TokenServiceClient::new(process.channel("token-service")?),
            audit,
        },
        verifier: process.verifier()?,
        sealing,
        clock: process.clock.clone(),
        random: process.random.clone(),
    })?;
    let readiness = Readiness::default();
    readiness.require("gateway", gateway.ready());
    let (operations, shutdown) = (process.operations(told), process.shutdown());
    process.serve(vec![operations], readiness, gateway.serve(shutdown)).await
}
