//! auth-service as a process of its own.

use std::process::ExitCode;

use auth_service::{App, Config, MailConfig, Options, pool::stand_back_as_session};
use carelink_database::backlog::BacklogConfig;
use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
    verified::verified_by,
};
use carelink_proto::{audit::audit_service_client::AuditServiceClient, token::token_service_client::TokenServiceClient};

fn main() -> ExitCode {
    process::run(Service { name: "auth-service", short: "auth", port: 8101, ops_port: 9101 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    stand_back_as_session();
    let (master, verifier) = (process.master_key()?, process.verifier()?);
    let app = App::build(Options {
        config: Config::read(&mut process.settings)?,
        mail: process.settings.section::<MailConfig>("mail")?.validate()?,
        backlog: process.settings.section::<BacklogConfig>("audit")?.validate()?,
        database: process.database(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: process.sealing_key_or(&master)?,
        master,
        token: TokenServiceClient::new(process.channel("token-service")?),
        audit: AuditServiceClient::new(process.channel("audit-service")?),
        hooks: verified_by(move || Some(verifier.clone())),
        first_administrator_file: None,
    })
    .await?;
    let (asked, readiness) = (app.clone(), Readiness::default());
    readiness.probe("database", move || {
        let app = asked.clone();
        async move { app.ping().await }
    });
    let (stacks, shutdown) = (vec![app.stack(), process.operations(app.told())], process.shutdown());
    process.serve(stacks, readiness, Box::pin(app.run(shutdown))).await
}
