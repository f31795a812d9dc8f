//! `carelink doctor`: why is it slow, or not well? One line for each thing that can be wrong: ok, warn or bad, and what to do.
//!
//! It asks the machine, the files, the databases and the ops port; it changes nothing and needs nobody's password. `machine` is what
//! the machine can do, `stores` what is in the databases, `files` who may read what, `running` what the processes say of themselves,
//! `unusual` what is configured otherwise than most do, `production` the list before going live.

mod files;
mod machine;
mod metrics;
mod production;
mod running;
mod stores;
mod unusual;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use carelink_platform::{
    clock::{Clock, Timestamp},
    config::{ConfigError, SECTIONS, Settings},
};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::{cli::Context, deployment::Deployment, error::failed, output::Table, up::running as noted};

/// Of `carelink doctor --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink doctor
  carelink doctor --production
  carelink doctor --config owner.toml --url https://signin.example --ops http://127.0.0.1:9000
  carelink doctor --json

Exit status 1 where something is bad; with --production also where something of the list before going live is missing.";

/// `carelink doctor`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The list before going live: every line of it has to be ok
    #[arg(long)]
    production: bool,
    /// Where clients reach it [default: as the running process noted, else http://127.0.0.1:8000]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// An ops port; may be repeated [default: as the running process noted, else http://127.0.0.1:9000]
    #[arg(long, value_name = "URL")]
    ops: Vec<String>,
    /// Believe these authorities of an https URL, and no others (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// It works, and could hurt.
    Warn,
    /// It does not work, or must not stay so.
    Bad,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at, a stable name.
    check: String,
    state: State,
    /// What was found.
    says: String,
    /// What to do; nothing where it is ok.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Finding {
    fn ok(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Ok, says: says.into(), advice: String::new() }
    }

    fn warn(check: impl Into<String>, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Warn, says: says.into(), advice: advice.into() }
    }

    fn bad(check: impl Into<String>, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Bad, says: says.into(), advice: advice.into() }
    }
}

/// What is looked at, and by which configuration.
pub(crate) struct Patient {
    deployment: Deployment,
    configured: Configured,
    url: String,
    ops: Vec<String>,
    ca_file: Option<PathBuf>,
    now: Timestamp,
}

/// The sections that say something of health.
struct Configured {
    file: Option<PathBuf>,
    password: auth_service::Config,
    token: token_service::Config,
    gateway: gateway::Config,
    audit: audit_service::Config,
    verifier: carelink_platform::verified::VerifierConfig,
    telemetry: carelink_platform::telemetry::TelemetryConfig,
}

impl Configured {
    fn read(context: &Context) -> Result<Self, ConfigError> {
        let own = context.data().join("carelink.toml");
        let file = context.config().map(Path::to_owned).or_else(|| own.is_file().then_some(own));
        let mut given = Settings::load(file.as_deref(), context.environment_pairs().iter().cloned())?;
        given.pass_over_databases()?;
        let read = Self {
            password: auth_service::Config::read(&mut given)?,
            token: token_service::Config::read(&mut given)?,
            gateway: gateway::Config::read(&mut given)?,
            audit: given.section::<audit_service::Config>("audit")?.validate()?,
            verifier: given.section("verifier")?,
            telemetry: given.section("telemetry")?,
            file,
        };
        given.ignore(SECTIONS);
        given.finish()?;
        Ok(read)
    }
}

impl Patient {
    fn new(args: &Args, context: &Context) -> anyhow::Result<Self> {
        let deployment = Deployment::read(context)?;
        if let Some(directory) = deployment.directory.as_deref().filter(|directory| !directory.is_dir()) {
            let sentence = format!("there is no data directory {}; name one with --data, or a fleet's --config", directory.display());
            return Err(failed("data_directory", sentence));
        }
        let running = deployment.directory.as_deref().and_then(noted::read);
        let url = args.url.clone().or_else(|| running.as_ref().map(|running| running.url.clone()));
        let ops = match (&running, args.ops.is_empty()) {
            (_, false) => args.ops.clone(),
            (Some(running), true) => vec![format!("http://{}", running.ops)],
            (None, true) => vec!["http://127.0.0.1:9000".to_owned()],
        };
        Ok(Self {
            configured: Configured::read(context)?,
            url: url.unwrap_or_else(|| "http://127.0.0.1:8000".to_owned()),
            ops,
            ca_file: args.ca_file.clone(),
            now: Clock::system().now(),
            deployment,
        })
    }

    /// Whether it is one process on files of its own.
    fn is_one_process(&self) -> bool {
        self.deployment.directory.is_some()
    }
}

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let patient = Patient::new(&args, context)?;
    let looked = running::Looked::at(&patient).await;
    let stores = stores::Stores::look(&patient).await;
    let mut findings = Vec::new();
    if args.production {
        findings.extend(production::list(&patient, &looked, &stores));
    } else {
        findings.extend(machine::resolution(&patient).await);
        findings.extend(running::findings(&patient, &looked));
        findings.extend(stores.findings(&patient));
        findings.extend(machine::disk(&patient));
        findings.extend(machine::hasher(&patient, &stores, &context.random).await);
        findings.extend(machine::clock(&patient, &looked, &stores));
        findings.extend(files::findings(&patient));
        findings.extend(unusual::findings(&patient));
    }
    tell(&findings, &args, context)
}

fn tell(findings: &[Finding], args: &Args, context: &mut Context) -> anyhow::Result<()> {
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    context.console.value(&serde_json::json!({ "state": worst, "production": args.production, "findings": findings }))?;
    let mut table = Table::new(["", "CHECK", "FOUND", "WHAT TO DO"]);
    for Finding { check, state, says, advice } in findings {
        let state = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "bad",
        };
        table.row([state.to_owned(), check.clone(), says.clone(), advice.clone()]);
    }
    context.console.table(table)?;
    let many = |state: State| findings.iter().filter(|finding| finding.state == state).count();
    let (warnings, bad) = (many(State::Warn), many(State::Bad));
    match (args.production, bad, warnings) {
        (_, 0, 0) | (false, 0, _) => Ok(()),
        (true, 0, missing) => Err(failed("not_ready", format!("not ready to go live: {missing} of {} not ok", findings.len()))),
        (true, bad, warnings) => Err(failed("not_ready", format!("not ready to go live: {} of {} not ok", bad + warnings, findings.len()))),
        (false, bad, _) => Err(failed("not_well", format!("{bad} of {} bad", findings.len()))),
    }
}

/// `3 events`, `1 event`.
fn many(count: impl Into<u64> + Copy + Display, what: &str) -> String {
    let plural = if count.into() == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How long ago, to the largest two units.
fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    let rounded = match seconds {
        0..=119 => seconds,
        120..=7_199 => seconds / 60 * 60,
        7_200..=172_799 => seconds / 3_600 * 3_600,
        _ => seconds / 86_400 * 86_400,
    };
    format!("{} ago", humantime::format_duration(std::time::Duration::from_secs(rounded)))
}
