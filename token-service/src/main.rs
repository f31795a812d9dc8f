//! token-service as a process of its own.

use std::process::ExitCode;

use carelink_database::backlog::BacklogConfig;
use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
};
use carelink_proto::audit::audit_service_client::AuditServiceClient;
use token_service::{App, Config, Options};

fn main() -> ExitCode {
    process::run(Service { name: "token-service", short: "token", port: 8102, ops_port: 9102 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let master = process.master_key()?;
    let app = App::build(Options {
        config: Config::read(&mut process.settings)?,
        backlog: process.settings.section::<BacklogConfig>("audit")?.validate()?,
        database: process.database(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: process.sealing_key_or(&master)?,
        master,
        assertion_keys: process.assertion_keys()?,
        audit: AuditServiceClient::new(process.channel("audit-service")?),
    })
    .await?;
    let (asked, readiness) = (app.clone(), Readiness::default());
    readiness.probe("database", move || {
        let app = asked.clone();
        async move { app.store().db.ping().await }
    });
    let (stacks, shutdown) = (vec![app.stack(), process.operations(app.told())], process.shutdown());
    process.serve(stacks, readiness, app.run(shutdown)).await
}
