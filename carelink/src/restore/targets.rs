//! What a restore fills: three schemas that nobody uses and that hold nothing, all of them or none.
//!
//! Files are filled in a folder of their own and moved into place when all are whole, the users' first: `carelink up` does not start
//! where one of the others is missing. On PostgreSQL every schema is one transaction; they are committed one right after the other.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use carelink_database::{
    Location,
    copy::{self, Table, Target, format::Item},
    migrate,
};
use carelink_platform::clock::Clock;
use indicatif::ProgressBar;

use super::later::Later;
use crate::{
    backup::{file::Backup, scope},
    deployment::{Deployment, Schema, database, hold},
    error::failed,
};

/// Where files are filled.
const FILLING: &str = ".restoring";
/// Rows that are handed on together.
const CHUNK: usize = 256;

/// The three schemas, being filled.
pub(super) struct Targets {
    pub(super) auth: Target,
    pub(super) token: Target,
    audit: Target,
    files: Option<Files>,
}

/// A data directory that is being filled, and held.
struct Files {
    directory: PathBuf,
    filling: PathBuf,
    _held: File,
}

impl Targets {
    /// Begins to fill what is empty, unused and made by the migrations of the backup; refuses everything else.
    pub(super) async fn begin(deployment: &Deployment, backup: &Backup, clock: &Clock) -> anyhow::Result<Self> {
        for schema in [&deployment.auth, &deployment.token, &deployment.audit] {
            same_version(schema, backup)?;
        }
        let files = deployment.directory.as_deref().map(Files::begin).transpose()?;
        let begin = async |schema: &Schema| {
            let at = match &files {
                Some(files) => Location::File(database(&files.filling, schema.name)),
                None => {
                    let users = copy::in_use(&schema.at, schema.name).await?;
                    if let Some(by) = users.first() {
                        let sentence = format!("the {} schema is in use (by {by}); stop every service that uses it first", schema.name);
                        return Err(failed("in_use", sentence));
                    }
                    schema.at.clone()
                }
            };
            let mut target = Target::begin(&at, scope(schema.name), schema.migrations, clock).await?;
            let occupied = target.occupied().await?;
            if !occupied.is_empty() {
                let tables = occupied.join(", ");
                let sentence = format!("the {} schema is not empty (there are rows in {tables}); restore into a new database", schema.name);
                return Err(failed("not_empty", sentence));
            }
            Ok(target)
        };
        let (auth, token, audit) = (begin(&deployment.auth).await?, begin(&deployment.token).await?, begin(&deployment.audit).await?);
        Ok(Self { auth, token, audit, files })
    }

    /// Fills them. What the backup's own trail tells beyond its users goes to `later`.
    pub(super) async fn fill(&mut self, backup: &Backup, later: &mut Later, bar: &ProgressBar) -> anyhow::Result<()> {
        bar.reset();
        bar.set_message("restore");
        bar.set_length(backup.rows);
        let mut items = backup.items()?;
        let mut schema = String::new();
        let mut table: Option<Table> = None;
        let mut rows = Vec::with_capacity(CHUNK);
        while let Some(item) = items.next()? {
            if let Item::Row(row) = item {
                if let (Some(table), "audit") = (&table, schema.as_str()) {
                    later.row(table, &row);
                }
                rows.push(row);
                if rows.len() < CHUNK {
                    continue;
                }
                self.put(&schema, table.as_ref(), &mut rows, bar).await?;
                continue;
            }
            self.put(&schema, table.as_ref(), &mut rows, bar).await?;
            match item {
                Item::Schema(head) => (schema, table) = (head.schema, None),
                Item::Table(next) => {
                    self.of(&schema)?.empty(&next.name).await?;
                    table = Some(next);
                }
                Item::Row(_) | Item::End(_) => {}
            }
        }
        Ok(())
    }

    async fn put(
        &mut self,
        schema: &str,
        table: Option<&Table>,
        rows: &mut Vec<Vec<carelink_database::Value>>,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        if let (Some(table), false) = (table, rows.is_empty()) {
            bar.inc(u64::try_from(rows.len()).unwrap_or(0));
            self.of(schema)?.put(table, std::mem::take(rows)).await?;
        }
        Ok(())
    }

    fn of(&mut self, schema: &str) -> anyhow::Result<&mut Target> {
        match schema {
            "auth" => Ok(&mut self.auth),
            "token" => Ok(&mut self.token),
            "audit" => Ok(&mut self.audit),
            _ => Err(failed("backup_newer", format!("the backup has a schema `{schema}`, which this version does not know"))),
        }
    }

    /// Makes it last.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        let Self { auth, token, audit, files } = self;
        // The trail first: where the others are, it is too.
        audit.finish().await?;
        token.finish().await?;
        auth.finish().await?;
        files.map_or(Ok(()), |files| files.finish())
    }
}

impl Files {
    fn begin(directory: &Path) -> anyhow::Result<Self> {
        let unusable = |error: std::io::Error| failed("data_directory", format!("{}: {error}", directory.display()));
        let private = |recursive| {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        private(true).create(directory).map_err(unusable)?;
        let held = hold(directory)?;
        let there = ["auth", "token", "audit"].map(|service| database(directory, service)).into_iter().find(|file| file.exists());
        if let Some(there) = there {
            let sentence = format!("{} is there already; restore into an empty directory (--data)", there.display());
            return Err(failed("not_empty", sentence));
        }
        let filling = directory.join(FILLING);
        if filling.exists() {
            fs::remove_dir_all(&filling).map_err(unusable)?; // of a restore that was interrupted
        }
        private(false).create(&filling).map_err(unusable)?;
        Ok(Self { directory: directory.to_owned(), filling, _held: held })
    }

    fn finish(self) -> anyhow::Result<()> {
        let moved = || {
            for service in ["auth", "token", "audit"] {
                fs::rename(database(&self.filling, service), database(&self.directory, service))?;
            }
            File::open(&self.directory)?.sync_all()?;
            fs::remove_dir_all(&self.filling)
        };
        moved().map_err(|error: std::io::Error| failed("data_directory", format!("{}: {error}", self.directory.display())))
    }
}

/// Rows fit only where the schema was made by the same migrations.
fn same_version(schema: &Schema, backup: &Backup) -> anyhow::Result<()> {
    let head = backup.schema(schema.name)?;
    let ours: Vec<&str> = migrate::names(schema.migrations).collect();
    let mut unknown: BTreeMap<&str, ()> = head.migrations.iter().map(|name| (name.as_str(), ())).collect();
    let lacks = ours.iter().find(|name| unknown.remove(**name).is_none());
    let version = &backup.header.version;
    match (lacks, unknown.keys().next()) {
        (None, None) => Ok(()),
        (_, Some(newer)) => Err(failed(
            "backup_newer",
            format!("the backup was made by a newer version ({version}: it has {newer}); restore it with that one"),
        )),
        (Some(lacks), None) => Err(failed(
            "backup_older",
            format!("the backup was made by an older version ({version}: it lacks {lacks}); restore it with that one, then upgrade"),
        )),
    }
}
