//! audit-service as a process of its own.

use std::process::ExitCode;

use audit_service::{App, Config, Options};
use carelink_platform::{
    grpc::Hooks,
    ops::Readiness,
    process::{self, Failed, Process, Service},
    seal::{PURPOSE, SealingKeyPair},
};

fn main() -> ExitCode {
    process::run(Service { name: "audit-service", short: "audit", ops_port: 9103 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let app = App::build(Options {
        config: process.settings.section::<Config>("audit")?.validate()?,
        database: process.database().into(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: SealingKeyPair::from_secret(&process.master_key()?.derive(PURPOSE))?,
        hooks: Hooks::default(), // nobody verifies users' tokens here yet: only operators read
    })
    .await?;
    let (stack, shutdown) = (app.stack(), process.shutdown());
    process.serve(vec![stack], Readiness::default(), app.run(shutdown)).await
}
