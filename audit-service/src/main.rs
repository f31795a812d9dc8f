//! audit-service as a process of its own.

use std::process::ExitCode;

use audit_service::{App, Config, Options};
use carelink_platform::{
    ops::Readiness,
    process::{self, Failed, Process, Service},
    seal::{PURPOSE, SealingKeyPair},
    verified::verified_by,
};

fn main() -> ExitCode {
    process::run(Service { name: "audit-service", short: "audit", port: 8103, ops_port: 9103 }, serve)
}

async fn serve(mut process: Process) -> Result<(), Failed> {
    let (master, verifier) = (process.master_key()?, process.verifier()?);
    let app = App::build(Options {
        config: process.settings.section::<Config>("audit")?.validate()?,
        database: process.database(),
        clock: process.clock.clone(),
        random: process.random.clone(),
        sealing: SealingKeyPair::from_secret(&master.derive(PURPOSE))?,
        hooks: verified_by(move || Some(verifier.clone())),
    })
    .await?;
    let (asked, readiness) = (app.clone(), Readiness::default());
    readiness.probe("database", move || {
        let app = asked.clone();
        async move { app.ping().await }
    });
    let (stacks, shutdown) = (vec![app.stack(), process.operations(app.told())], process.shutdown());
    process.serve(stacks, readiness, app.run(shutdown)).await
}
