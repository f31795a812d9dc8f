//! token-service as a process of its own.

use std::process::ExitCode;

use carelink_database::backlog::BacklogConfig;
use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
    seal::{PURPOSE, SealingKeyPair},
};
use carelink_proto::audit::audit_service_client::AuditServiceClient;
use token_service::{App, Config, Options};

fn main() -> ExitCode {
    process::run(Service { name: "token-service", short: "token", ops_port: 9102 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let config = Config::read(&mut process.settings)?;
    let master = process.master_key()?;
    let app = App::build(Options {
        config,
        backlog: process.settings.section::<BacklogConfig>("audit")?.validate()?,
        database: process.database().into(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: SealingKeyPair::from_secret(&master.derive(PURPOSE))?.public().clone(),
        master,
        assertion_keys: Vec::new(), // none pinned: no sign-in is believed
        audit: AuditServiceClient::new(process.channel("audit-service")),
    })
    .await?;
    let (stack, shutdown) = (app.stack(), process.shutdown());
    process.serve(vec![stack], Readiness::default(), app.run(shutdown)).await
}
