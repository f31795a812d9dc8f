//! `carelink log`: what processes log, seen and changed while they run. Each process decides for itself, and the trail says who asked.

use std::time::Duration;

use carelink_proto::ops::{GetLogRequest, Log, SetLogRequest};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    cli::Context,
    connect::processes,
    error::failed,
    output::{Table, time, time_cell},
};

/// Of `carelink log --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink log show
  carelink log level debug --for 10m --reason 'sign-ins are slow'
  carelink log level --reset --reason 'found it'";

/// What can be done with logs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what each process logs
    #[command(after_help = "Examples:
  carelink log show
  carelink log show --config operator.toml --json")]
    Show,
    /// Log more or less, for a while or until the process ends; no restart keeps it
    #[command(after_help = "Examples:
  carelink log level debug --for 10m --reason 'sign-ins are slow'
  carelink log level info,token_service=trace --service token-service --reason 'one session'
  carelink log level --reset --reason 'found it'")]
    Level(Level),
}

/// `carelink log level`.
#[derive(Args)]
pub(crate) struct Level {
    /// Levels, with or without a part of CareLink: `debug`, `info,token_service=trace`
    #[arg(value_name = "LEVELS", required_unless_present = "reset", conflicts_with = "reset")]
    directives: Option<String>,
    /// Back to what is configured (telemetry.log)
    #[arg(long)]
    reset: bool,
    /// For so long (`10m`, at most 7days); else until the process ends
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "reset")]
    lasting: Option<Duration>,
    /// Only the processes of one service of a fleet
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// A process and what it logs, as JSON.
#[derive(Serialize)]
struct Shown {
    process: String,
    log: String,
    configured: String,
    until: Option<String>,
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    let (service, ask) = match command {
        Command::Show => (None, None),
        Command::Level(args) => {
            let reason = context.console.reason(args.reason, "the trail says why logs were changed")?;
            let for_us = args.lasting.map_or(0, |lasting| i64::try_from(lasting.as_micros()).unwrap_or(i64::MAX));
            (args.service, Some(SetLogRequest { directives: args.directives.unwrap_or_default(), for_us, reason }))
        }
    };
    let mut found = Vec::new();
    for (process, mut client) in processes(context).await? {
        if service.as_ref().is_some_and(|service| process.split(' ').next() != Some(service.as_str())) {
            continue;
        }
        let log = match &ask {
            Some(request) => client.set_log(request.clone()).await?.into_inner().log,
            None => client.get_log(GetLogRequest {}).await?.into_inner().log,
        };
        found.push((process, log.unwrap_or_default()));
    }
    if found.is_empty() {
        let which = service.map_or_else(|| "no process".to_owned(), |service| format!("no process of {service}"));
        return Err(failed("not_running", format!("{which} is known; see grpc.auth, grpc.token, grpc.audit and grpc.gateway")));
    }
    tell(&found, context)
}

fn tell(found: &[(String, Log)], context: &mut Context) -> anyhow::Result<()> {
    let shown: Vec<Shown> = found
        .iter()
        .map(|(process, log)| Shown {
            process: process.clone(),
            log: log.directives.clone(),
            configured: log.configured.clone(),
            until: time(log.until_us),
        })
        .collect();
    context.console.value(&serde_json::json!({ "processes": shown }))?;
    let mut table = Table::new(["PROCESS", "LOGS", "CONFIGURED", "UNTIL"]);
    for (process, log) in found {
        table.row([process.clone(), log.directives.clone(), log.configured.clone(), time_cell(log.until_us)]);
    }
    context.console.table(table)
}

#[cfg(test)]
mod tests {
    use crate::{
        error::Exit,
        fake::{Fake, State},
        tests::run,
    };

    #[tokio::test]
    async fn levels_are_changed_for_a_while_with_a_reason_and_shown() {
        let fake = Fake::start(State::default());
        let shown = run(fake.data(), &["log", "show"]).await;
        assert!(shown.out.contains("carelink  info  info"), "{}", shown.out);
        assert_eq!(run(fake.data(), &["log", "level", "debug"]).await.sentence().0, Exit::Usage);
        let told = run(fake.data(), &["log", "level", "debug", "--for", "10m", "--reason", "slow", "--json"]).await.json();
        assert_eq!((&told["processes"][0]["log"], &told["processes"][0]["until"]), (&"debug".into(), &"2023-11-14T22:23:20Z".into()));
        let reset = run(fake.data(), &["log", "level", "--reset", "--reason", "found it"]).await;
        assert!(reset.result.is_ok());
        let seen = fake.state.lock().unwrap().seen.last().unwrap().0.clone();
        assert!(seen.contains("directives: \"\"") && seen.contains("found it"), "{seen}");
        let nobody = run(fake.data(), &["log", "level", "debug", "--service", "gateway", "--reason", "x"]).await;
        assert_eq!(nobody.sentence().0, Exit::Failed, "in one process there is no gateway by itself");
    }
}
