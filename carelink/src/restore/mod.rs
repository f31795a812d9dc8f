//! `carelink restore`: fills empty databases from a backup, on either engine.
//!
//! `targets` is what is filled, `later` what a trail knows of the time after the backup, `sources` where trails are read, `apply` what
//! is changed for both reasons.

mod apply;
mod later;
mod sources;
mod targets;

use std::{path::PathBuf, time::Duration};

use carelink_platform::clock::{Clock, Timestamp};
use clap::Args as ClapArgs;

use self::{
    apply::{Applied, By},
    later::Later,
    sources::Trails,
    targets::Targets,
};
use crate::{
    backup::file::Backup,
    cli::Context,
    deployment::Deployment,
    output::{Table, progress_bar},
};

/// Of `carelink restore --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink restore --check /backups/carelink-20261124T110000Z.backup
  carelink restore carelink.backup --data /var/lib/carelink
  carelink restore carelink.backup --trail old-data/audit.sqlite3 --data new-data
  carelink restore night.backup --trail-url-file audit-url --trail-url-file auth-url

Everybody signs in again afterwards: sessions are ended, and the keys that signed their tokens are gone. From the trail that \
is given, whoever was disabled, lost a role or changed the password after the backup is so again (the last need a new one).";

/// `carelink restore`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The backup
    #[arg(value_name = "FROM")]
    from: PathBuf,
    #[command(flatten)]
    trails: Trails,
    /// See whether the backup is whole, and restore nothing
    #[arg(long)]
    check: bool,
}

/// A change that was under way when the picture was taken may be in the trail with an earlier time. What is in both is done twice, to
/// the same end.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let bar = progress_bar(&context.console);
    args.trails.check(context)?;
    let backup = Backup::check(&args.from, &bar)?;
    if args.check {
        bar.finish_and_clear();
        return checked(&args, &backup, context);
    }
    let clock = Clock::system();
    let deployment = Deployment::read(context)?;
    let taken = Timestamp::from_micros(backup.schema("auth")?.taken_us);
    let mut later = Later::new(taken - UNDER_WAY);
    args.trails.read(&mut later, context, &clock, &bar).await?;
    let mut targets = Targets::begin(&deployment, &backup, &clock).await?;
    targets.fill(&backup, &mut later, &bar).await?;
    let by = By { actor: context.actor(), now: clock.now(), taken, random: &context.random };
    let applied = apply::apply(&mut targets, &later, &by).await?;
    targets.finish().await?;
    bar.finish_and_clear();
    restored(&args, &backup, &later, &applied, &deployment, context)
}

fn checked(args: &Args, backup: &Backup, context: &mut Context) -> anyhow::Result<()> {
    let Backup { header, schemas, rows, .. } = backup;
    context.console.value(&serde_json::json!({ "file": args.from, "made": header, "schemas": schemas, "rows": rows }))?;
    let mut table = Table::new(["SCHEMA", "AS OF", "MIGRATIONS"]);
    for schema in schemas {
        table.row([schema.schema.clone(), Timestamp::from_micros(schema.taken_us).to_string(), schema.migrations.join(", ")]);
    }
    context.console.table(table)?;
    context.console.line(format!("{} is whole: {rows} rows, made by {} on {}", args.from.display(), header.version, header.made_at))
}

fn restored(
    args: &Args,
    backup: &Backup,
    later: &Later,
    applied: &Applied,
    deployment: &Deployment,
    context: &mut Context,
) -> anyhow::Result<()> {
    let taken = Timestamp::from_micros(backup.schema("auth")?.taken_us);
    let newest = (later.newest > Timestamp::ZERO).then_some(later.newest);
    context.console.value(&serde_json::json!({
        "rows": backup.rows, "as_of": taken.to_string(), "known_until": newest.map(|at| at.to_string()), "applied": applied,
        "disbelieved": later.disbelieved,
    }))?;
    context.console.line(format!("restored {} rows as of {taken}", backup.rows))?;
    context.console.line(format!("ended {} sessions; everybody signs in again, tokens from before are refused", applied.sessions_ended))?;
    let mut table = Table::new(["USER", "AGAIN AS AFTER THE BACKUP"]);
    for user in &applied.users {
        let mut what = Vec::new();
        if user.disabled {
            what.push("disabled".to_owned());
        }
        if !user.lost_roles.is_empty() {
            what.push(format!("without {}", user.lost_roles.join(", ")));
        }
        if user.needs_password {
            what.push("needs a new password: carelink user set-password".to_owned());
        }
        table.row([user.username.clone(), what.join("; ")]);
    }
    if !applied.users.is_empty() {
        context.console.table(table)?;
    }
    if applied.users_missing > 0 {
        context.console.note(format!("{} users were made after the backup and are not in it; add them again.", applied.users_missing));
    }
    if later.disbelieved > 0 {
        context.console.note(format!(
            "{} events of the trail tell of users and did not come from auth-service: none of them was believed; see who delivered them.",
            later.disbelieved
        ));
    }
    match newest {
        _ if args.trails.are_none() => context.console.note(format!(
            "Not known without --trail: who was disabled, lost a role or changed a password after {}. Look it up where you can.",
            newest.unwrap_or(taken)
        )),
        Some(newest) => context.console.note(format!("What happened after {newest}, where the trail ends, is not known.")),
        None => context.console.note("The trail that was given holds no events."),
    }
    let key = match &deployment.directory {
        Some(directory) => format!("{} (mode 0600)", directory.join("master.key").display()),
        None => "each service's keys.master_key_file".to_owned(),
    };
    context.console.note(format!("Before the start: put the master key that the backup was made under into {key}."));
    Ok(())
}
