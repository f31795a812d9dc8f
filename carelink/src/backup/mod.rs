//! `carelink backup`: all schemas of a deployment in one file, each as it was at one moment, whatever engine they are on.
//!
//! The order is the deployment's: sessions before users before the trail. No master key is in a backup, and no key that signs tokens:
//! what is restored signs with new ones. What else is secret lies in the databases sealed under the master keys, passwords as hashes.

pub(crate) mod file;

use std::{
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
};

use carelink_database::{
    copy::{
        Picture, Scope,
        format::{Header, SchemaHead, Writer},
    },
    trail::Noted,
};
use carelink_platform::{
    clock::{Clock, Timestamp},
    events::{EventBuilder, EventType},
};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::{
    cli::Context,
    deployment::{Deployment, Schema},
    error::failed,
    migrate,
    output::{Table, progress_bar, shell_word},
};

/// Of `carelink backup --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink backup --out /backups/
  carelink backup --out carelink.backup --data /var/lib/carelink
  carelink backup --out /backups/ --config carelink.toml --json

Nobody is held up meanwhile. The file fits both engines: what was on SQLite can be restored into PostgreSQL and back. It holds \
no master key; keep copies of those (master.key of a data directory, or each service's) where backups are not.";

/// What of a schema stays behind: what belongs to running processes, keys that a restore replaces anyway, and links that may have been
/// used since: one that is good once must not be good again.
pub(crate) fn scope(schema: &'static str) -> Scope {
    let without: &'static [&'static str] = match schema {
        "auth" => &["one_time_link"],
        "token" => &["pulse", "signing_key"],
        _ => &[],
    };
    Scope { schema, without }
}

/// `carelink backup`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The file to write, or a directory to put one into; never overwrites
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
}

/// In a data directory: when the last backup of it was taken.
pub(crate) const LAST: &str = "last-backup.json";

/// What was written.
pub(crate) struct Written {
    bytes: u64,
    rows: u64,
    copied: Vec<Copied>,
}

/// What went into the file of one schema.
#[derive(Serialize)]
struct Copied {
    schema: &'static str,
    engine: &'static str,
    rows: u64,
    taken_at: String,
}

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let deployment = Deployment::read(context)?;
    let clock = Clock::system();
    let path = target(&args.out, clock.now());
    if path.exists() {
        return Err(failed("exists", format!("{} is there already, and backups are never overwritten", path.display())));
    }
    let bar = progress_bar(&context.console);
    let written = write(&deployment.in_order(), &path, &clock, &bar).await?;
    bar.finish_and_clear();
    match &deployment.directory {
        Some(directory) => note(directory, &path, &written, clock.now()),
        None => tell_trail(&deployment, &clock, context).await,
    }
    tell(&path, &written, context)
}

/// Writes schemas, as each is now, into a file that is not there yet, for its owner only.
pub(crate) async fn write(schemas: &[&Schema], path: &Path, clock: &Clock, bar: &indicatif::ProgressBar) -> anyhow::Result<Written> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |error: std::io::Error| failed("backup_unwritable", format!("{}: {error}", path.display()));
    // Under a name of its own until it is whole.
    let part = tempfile::Builder::new().prefix(".carelink-").suffix(".part").tempfile_in(folder).map_err(unwritable)?;
    let header = Header::new(env!("CARGO_PKG_VERSION"), clock.now());
    let mut writer = Writer::begin(BufWriter::new(part), &header).map_err(|error| file::unusable(path, &error))?;
    let mut copied = Vec::new();
    for schema in schemas {
        copied.push(copy(schema, &mut writer, clock, path, bar).await?);
    }
    let (part, rows) = writer.finish().map_err(|error| file::unusable(path, &error))?;
    let part = part.into_inner().map_err(|error| unwritable(error.into_error()))?;
    part.as_file().sync_all().map_err(unwritable)?;
    let bytes = part.as_file().metadata().map_err(unwritable)?.len();
    part.persist_noclobber(path).map_err(|error| unwritable(error.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    Ok(Written { bytes, rows, copied })
}

/// Notes beside the databases that a backup was taken, for `carelink doctor`. One that cannot be noted is a backup all the same.
pub(crate) fn note(directory: &Path, path: &Path, written: &Written, now: Timestamp) {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let taken = serde_json::json!({ "taken_at": now.to_string(), "file": file, "bytes": written.bytes, "rows": written.rows });
    let noted = || -> std::io::Result<()> {
        let mut part = tempfile::Builder::new().prefix(".carelink-").suffix(".part").tempfile_in(directory)?;
        std::io::Write::write_all(&mut part, format!("{taken}\n").as_bytes())?;
        part.persist(directory.join(LAST)).map(drop).map_err(|error| error.error)
    };
    if let Err(error) = noted() {
        tracing::warn!(%error, "that a backup was taken could not be noted");
    }
}

/// Lets the trail know of it, where files are nobody's; a role that may not write is a backup's all the same.
async fn tell_trail(deployment: &Deployment, clock: &Clock, context: &Context) {
    let now = clock.now();
    let id = context.random.uuid_v7(now);
    let event = EventBuilder::new("carelink", EventType::BackupTaken, id, now).actor(context.actor());
    if let Err(error) = migrate::note(&deployment.token, vec![Noted { id, body: event.encode() }], clock).await {
        tracing::warn!(%error, "that a backup was taken could not be noted");
    }
}

/// A directory gets a file that is called after the time.
fn target(out: &Path, now: Timestamp) -> PathBuf {
    let directory = out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let stamp = || now.floor_to_second().to_string().replace([':', '-'], "");
    if directory { out.join(format!("carelink-{}.backup", stamp())) } else { out.to_owned() }
}

async fn copy<W: std::io::Write>(
    schema: &Schema,
    writer: &mut Writer<W>,
    clock: &Clock,
    path: &Path,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Copied> {
    let unusable = |error| file::unusable(path, &error);
    let mut picture = Picture::take(&schema.at, scope(schema.name), clock).await?;
    let head =
        SchemaHead { schema: schema.name.to_owned(), migrations: picture.migrations().to_vec(), taken_us: picture.taken().as_micros() };
    writer.schema(&head).map_err(unusable)?;
    bar.reset();
    bar.set_message(schema.name);
    bar.set_length(picture.rows());
    let (mut rows, mut begun) = (0, 0);
    while let Some(chunk) = picture.next().await? {
        for table in picture.tables().iter().take(chunk.table + 1).skip(begun) {
            writer.table(table).map_err(unusable)?;
        }
        begun = chunk.table + 1;
        for row in &chunk.rows {
            writer.row(row).map_err(unusable)?;
        }
        rows += u64::try_from(chunk.rows.len()).unwrap_or(u64::MAX);
        bar.set_position(rows);
    }
    for table in picture.tables().iter().skip(begun) {
        writer.table(table).map_err(unusable)?;
    }
    writer.end(schema.name).map_err(unusable)?;
    Ok(Copied { schema: schema.name, engine: schema.engine(), rows, taken_at: picture.taken().to_string() })
}

fn tell(path: &Path, Written { bytes, rows, copied }: &Written, context: &mut Context) -> anyhow::Result<()> {
    context.console.value(&serde_json::json!({ "file": path, "bytes": bytes, "rows": rows, "schemas": copied }))?;
    let mut table = Table::new(["SCHEMA", "ENGINE", "ROWS", "AS OF"]);
    for Copied { schema, engine, rows, taken_at } in copied {
        table.row([(*schema).to_owned(), (*engine).to_owned(), rows.to_string(), taken_at.clone()]);
    }
    context.console.table(table)?;
    context.console.line(format!("wrote {rows} rows into {} ({bytes} bytes)", path.display()))?;
    context.console.note(format!(
        "It holds no master key. To see whether it is whole: carelink restore --check {}",
        shell_word(&path.to_string_lossy())
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_behind_is_called_as_the_migrations_do() {
        let made = |schema: &str, migrations: &[carelink_database::Migration]| {
            for table in scope(if schema == "auth" { "auth" } else { "token" }).without {
                assert!(migrations.iter().any(|step| step.sqlite.contains(&format!("CREATE TABLE {table} ("))), "{schema} has no {table}");
            }
        };
        made("auth", auth_service::store::MIGRATIONS);
        made("token", token_service::store::MIGRATIONS);
    }
}
