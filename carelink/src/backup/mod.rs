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

use carelink_database::copy::{
    Picture, Scope,
    format::{Header, SchemaHead, Writer},
};
use carelink_platform::clock::{Clock, Timestamp};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::{
    cli::Context,
    deployment::{Deployment, Schema},
    error::failed,
    output::{Table, progress_bar, shell_word},
};

/// Of `carelink backup --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink backup --out /backups/
  carelink backup --out carelink.backup --data /var/lib/carelink
  carelink backup --out /backups/ --config carelink.toml --json

Nobody is held up meanwhile. The file fits both engines: what was on SQLite can be restored into PostgreSQL and back. It holds \
no master key; keep copies of those (master.key of a data directory, or each service's) where backups are not.";

/// What of a schema stays behind: what belongs to running processes, and keys that a restore replaces anyway.
pub(crate) fn scope(schema: &'static str) -> Scope {
    Scope { schema, without: if schema == "token" { &["pulse", "signing_key"] } else { &[] } }
}

/// `carelink backup`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The file to write, or a directory to put one into; never overwrites
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |error: std::io::Error| failed("backup_unwritable", format!("{}: {error}", path.display()));
    // For its owner only, under a name of its own until it is whole.
    let part = tempfile::Builder::new().prefix(".carelink-").suffix(".part").tempfile_in(folder).map_err(unwritable)?;
    let header = Header::new(env!("CARGO_PKG_VERSION"), clock.now());
    let mut writer = Writer::begin(BufWriter::new(part), &header).map_err(|error| file::unusable(&path, &error))?;
    let bar = progress_bar(&context.console);
    let mut copied = Vec::new();
    for schema in deployment.in_order() {
        copied.push(copy(schema, &mut writer, &clock, &path, &bar).await?);
    }
    bar.finish_and_clear();
    let (part, rows) = writer.finish().map_err(|error| file::unusable(&path, &error))?;
    let part = part.into_inner().map_err(|error| unwritable(error.into_error()))?;
    part.as_file().sync_all().map_err(unwritable)?;
    let bytes = part.as_file().metadata().map_err(unwritable)?.len();
    part.persist_noclobber(&path).map_err(|error| unwritable(error.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    tell(&path, bytes, rows, &copied, context)
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

fn tell(path: &Path, bytes: u64, rows: u64, copied: &[Copied], context: &mut Context) -> anyhow::Result<()> {
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
