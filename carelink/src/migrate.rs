//! `carelink migrate`: brings the schemas of a deployment up to date. Works offline, on the databases themselves.

use carelink_database::{Db, DbOptions, Location, copy, migrate, outbox, trail::Noted};
use carelink_platform::{
    clock::Clock,
    events::{EventBuilder, EventType, Object},
};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::{
    before,
    cli::Context,
    deployment::{Deployment, Schema, hold},
    error::failed,
    output::Table,
};

/// Of `carelink migrate --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink migrate --config carelink.toml
  carelink migrate --config carelink.toml --dry-run
  carelink migrate --config carelink.toml --check || echo 'not up to date'
  carelink migrate --data /var/lib/carelink

On PostgreSQL the owners of the schemas are needed: auth.migrate_url, token.migrate_url and audit.migrate_url (or .._file). \
Services that run go on: a schema is changed so that the version before still works on it. Where several migrate at once, \
one does it and the others wait. A data directory is brought up to date by a start as well; either way, a backup of it as it \
was is left in it first.";

/// `carelink migrate`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "check")]
    dry_run: bool,
    /// Do nothing, and fail where something is to be done
    #[arg(long)]
    check: bool,
}

/// A schema and what it lacked.
#[derive(Serialize)]
struct Brought {
    schema: &'static str,
    engine: &'static str,
    migrations: Vec<String>,
}

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let deployment = Deployment::read(context)?;
    let _held = match &deployment.directory {
        Some(directory) if !directory.is_dir() => {
            let sentence = format!("there is no data directory {}; name one with --data, or a fleet's --config", directory.display());
            return Err(failed("data_directory", sentence));
        }
        Some(directory) if !args.dry_run && !args.check => Some(hold(directory)?),
        _ => None,
    };
    // A file that is not there is made by a start, beside its key: none is made here.
    let schemas = [&deployment.auth, &deployment.token, &deployment.audit];
    let schemas: Vec<&Schema> =
        schemas.into_iter().filter(|schema| !matches!(&schema.at, Location::File(path) if !path.exists())).collect();
    let mut all = Vec::new();
    for schema in &schemas {
        all.push(Brought { schema: schema.name, engine: schema.engine(), migrations: missing(schema).await? });
    }
    let pending = all.iter().any(|schema| !schema.migrations.is_empty());
    let applied = !args.dry_run && !args.check;
    let kept = match &deployment.directory {
        Some(directory) if applied => before::keep(directory, &Clock::system()).await?,
        _ => None,
    };
    if applied {
        for (brought, schema) in all.iter_mut().zip(&schemas) {
            brought.migrations = bring(schema, &deployment, context).await?;
        }
    }
    if args.check && pending {
        let lacks: Vec<String> = all.iter().flat_map(|s| s.migrations.iter().map(move |name| format!("{}: {name}", s.schema))).collect();
        return Err(failed("not_up_to_date", format!("not up to date ({}); bring it up with: carelink migrate", lacks.join(", "))));
    }
    context.console.value(&serde_json::json!({
        "applied": applied, "up_to_date": applied || !pending, "schemas": all, "backed_up_to": kept,
    }))?;
    let mut table = Table::new(["SCHEMA", "ENGINE", "MIGRATION", "STATE"]);
    for Brought { schema, engine, migrations } in &all {
        let state = if applied { "applied" } else { "to be applied" };
        for name in migrations {
            table.row([schema, engine, name.as_str(), state].map(str::to_owned));
        }
        if migrations.is_empty() {
            table.row([schema, engine, "", "up to date"].map(str::to_owned));
        }
    }
    if let Some(kept) = &kept {
        context.console.note(format!("As it was before it is in {}.", kept.display()));
    }
    if all.is_empty() {
        context.console.note("There are no databases yet; a start makes them.");
        return Ok(());
    }
    context.console.table(table)
}

/// What a schema lacks.
pub(crate) async fn missing(schema: &Schema) -> anyhow::Result<Vec<String>> {
    let there = copy::applied(&schema.at, schema.name).await?;
    Ok(migrate::names(schema.migrations).filter(|name| !there.iter().any(|known| known == name)).map(str::to_owned).collect())
}

/// Applies what a schema lacks and writes into the trail that it did. Another may have been faster: then it has done so.
async fn bring(schema: &Schema, deployment: &Deployment, context: &Context) -> anyhow::Result<Vec<String>> {
    let clock = Clock::system();
    let options = || DbOptions { at: schema.at.clone(), schema: schema.name, migrations: schema.migrations, clock: clock.clone() };
    let (db, applied) = match &schema.at {
        Location::File(_) => {
            let db = Db::open(options()).await?;
            let applied = db.applied().to_vec();
            (db, applied)
        }
        Location::Postgres(postgres) => {
            let applied = migrate::postgres(postgres, schema.name, schema.migrations, &context.random).await?;
            (Db::open(options()).await?, applied)
        }
    };
    drop(db);
    let by = context.actor();
    let now = clock.now();
    let notes: Vec<Noted> = applied
        .iter()
        .map(|name| {
            let id = context.random.uuid_v7(now);
            let event = EventBuilder::new("carelink", EventType::MigrationRun, id, now);
            Noted { id, body: event.actor(by.clone()).object(Object::migration(schema.name, name)).encode() }
        })
        .collect();
    // The trail has no outbox that anybody empties: what is said of it is said by token-service, which was brought up before it.
    let teller = if schema.name == "audit" { &deployment.token } else { schema };
    note(teller, notes, &clock).await?;
    Ok(applied.into_iter().map(str::to_owned).collect())
}

/// Leaves events in a schema's outbox, for whoever runs on it to deliver.
pub(crate) async fn note(schema: &Schema, notes: Vec<Noted>, clock: &Clock) -> anyhow::Result<()> {
    if notes.is_empty() {
        return Ok(());
    }
    let Schema { name, at, migrations } = schema.clone();
    let db = Db::open(DbOptions { at, schema: name, migrations, clock: clock.clone() }).await?;
    db.transaction::<_, carelink_database::StoreError, _>("note", move |tx| {
        let notes = notes.clone();
        Box::pin(async move {
            for note in notes {
                outbox::put(tx, note.outgoing()).await?;
            }
            Ok(())
        })
    })
    .await?;
    Ok(())
}
