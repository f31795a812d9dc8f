//! auth-service as a process of its own.

use std::process::ExitCode;

use auth_service::{App, Config, Options};
use carelink_database::backlog::BacklogConfig;
use carelink_platform::{
    grpc::Hooks,
    ops::Readiness,
    process::{self, Failed, Process, Service},
    seal::{PURPOSE, SealingKeyPair},
};
use carelink_proto::{audit::audit_service_client::AuditServiceClient, token::token_service_client::TokenServiceClient};

fn main() -> ExitCode {
    process::run(Service { name: "auth-service", short: "auth", ops_port: 9101 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let config = Config::read(&mut process.settings)?;
    let backlog = process.settings.section::<BacklogConfig>("audit")?.validate()?;
    let master = process.master_key()?;
    let app = App::build(Options {
        config,
        backlog,
        database: process.database().into(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: SealingKeyPair::from_secret(&master.derive(PURPOSE))?.public().clone(),
        master,
        token: TokenServiceClient::new(process.channel("token-service")),
        audit: AuditServiceClient::new(process.channel("audit-service")),
        hooks: Hooks::default(), // nobody verifies users' tokens here yet: only operators administer
        first_administrator_file: None,
    })
    .await?;
    let (stack, shutdown) = (app.stack(), process.shutdown());
    process.serve(vec![stack], Readiness::default(), app.run(shutdown)).await
}
