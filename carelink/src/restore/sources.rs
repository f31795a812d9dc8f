//! Where a restore reads the trail: a backup, a SQLite file, a data directory or PostgreSQL; and what of it there was to read.
//!
//! The trail alone is not all: what auth-service had not delivered yet waits in its outbox. Where no source has that, a restore says so
//! and does nothing, unless it is told that there is none.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use carelink_database::{
    DatabaseConfig, Location, Postgres, StoreError,
    copy::{Picture, format::Item},
};
use carelink_platform::{
    clock::Clock,
    secrets::{ExposeSecret, SecretString, read_secret_file},
};
use clap::Args as ClapArgs;
use indicatif::ProgressBar;

use super::later::Later;
use crate::{
    backup::{file::Backup, scope},
    cli::Context,
    deployment::database,
    error::{failed, usage},
};

/// The trails that are given.
#[derive(ClapArgs, Debug)]
pub(crate) struct Trails {
    /// The newest trail there is: a later backup, a SQLite file, a data directory or a database's URL; may be repeated
    #[arg(long, value_name = "FILE|DIR|URL", conflicts_with = "check")]
    trail: Vec<String>,
    /// The same, in the database whose URL this file holds; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    trail_url_file: Vec<PathBuf>,
    /// The same, in the database whose URL this variable of the environment holds; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    trail_url_env: Vec<String>,
    /// Go on where the trail is there and what auth-service had not delivered to it is lost
    #[arg(long, conflicts_with = "check")]
    delivered_only: bool,
}

/// One of them.
#[derive(Debug)]
enum Source {
    Path(PathBuf),
    Database(SecretString),
}

/// What of a trail was there to read.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    trail: bool,
    undelivered: bool,
}

impl Heard {
    fn and(self, other: Self) -> Self {
        Self { trail: self.trail || other.trail, undelivered: self.undelivered || other.undelivered }
    }
}

impl Trails {
    /// Whether there is none.
    pub(super) fn are_none(&self) -> bool {
        self.trail.is_empty() && self.trail_url_file.is_empty() && self.trail_url_env.is_empty()
    }

    /// Whether they can be read as they are given, before anything else is.
    pub(super) fn check(&self, context: &Context) -> anyhow::Result<()> {
        self.sources(context).map(drop)
    }

    /// Reads all of them, or says what is missing.
    pub(super) async fn read(&self, later: &mut Later, context: &Context, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut heard = Heard::default();
        for source in self.sources(context)? {
            heard = heard.and(source.read(later, clock, bar).await?);
        }
        match (self.are_none(), heard) {
            (true, _) | (false, Heard { trail: true, undelivered: true }) => Ok(()),
            (false, Heard { trail: true, undelivered: false }) if self.delivered_only => Ok(()),
            (false, Heard { trail: true, undelivered: false }) => Err(failed(
                "trail_incomplete",
                "the trail was read, and what auth-service had not delivered to it was not: that waits in the table outbox of its own \
                 schema, which nothing given here may read. Give that too (auth.sqlite3, or carelink_auth by --trail-url-file), or say \
                 --delivered-only where it is lost",
            )),
            (false, Heard { trail: false, .. }) => Err(failed(
                "trail_incomplete",
                "none of the trails given holds any: there is no table events that may be read. Give audit.sqlite3, a backup, or the URL \
                 of a role that may read carelink_audit",
            )),
        }
    }

    fn sources(&self, context: &Context) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        for given in &self.trail {
            sources.push(match is_url(given) {
                true if has_password(given) => {
                    return Err(usage(
                        "everybody on this machine can read a command line, and this URL holds a password: write the URL into a file of \
                         mode 0600 and say --trail-url-file FILE, or put it into the environment and say --trail-url-env NAME",
                    ));
                }
                true => Source::Database(SecretString::from(given.as_str())),
                false => Source::Path(PathBuf::from(given)),
            });
        }
        for file in &self.trail_url_file {
            let url = read_secret_file(file).map_err(|error| failed("trail_unreadable", error.to_string()))?;
            sources.push(Source::url(url, &file.display().to_string())?);
        }
        for name in &self.trail_url_env {
            let url = context.variable(name).ok_or_else(|| usage(format!("there is no variable {name} in the environment")))?;
            sources.push(Source::url(SecretString::from(url), name)?);
        }
        Ok(sources)
    }
}

impl Source {
    /// A URL from a place that may hold anything; it is not repeated.
    fn url(url: SecretString, from: &str) -> anyhow::Result<Self> {
        match is_url(url.expose_secret()) {
            true => Ok(Self::Database(url)),
            false => Err(failed(
                "trail_unreadable",
                format!("{from} holds no URL of PostgreSQL, such as postgres://role:password@host/carelink"),
            )),
        }
    }

    async fn read(self, later: &mut Later, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<Heard> {
        match self {
            Self::Database(url) => postgres(later, url, clock, bar).await,
            Self::Path(path) if path.is_dir() => {
                let undelivered = schema(later, &Location::File(database(&path, "auth")), "auth", clock, bar).await?;
                let trail = schema(later, &Location::File(database(&path, "audit")), "audit", clock, bar).await?;
                Ok(undelivered.and(trail))
            }
            Self::Path(path) => {
                if is_sqlite(&path).map_err(|error| failed("trail_unreadable", format!("{}: {error}", path.display())))? {
                    return sqlite(later, path, clock, bar).await;
                }
                backup(later, &path, bar)
            }
        }
    }
}

/// A SQLite file, whichever service's, and auth-service's where that is beside it.
async fn sqlite(later: &mut Later, path: PathBuf, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<Heard> {
    let beside = path.parent().map(|folder| database(folder, "auth")).filter(|auth| auth.is_file() && *auth != path);
    let mut heard = schema(later, &Location::File(path), "audit", clock, bar).await?;
    if let Some(auth) = beside.filter(|_| heard.trail) {
        heard = heard.and(schema(later, &Location::File(auth), "auth", clock, bar).await?);
    }
    Ok(heard)
}

/// Both schemas of a database, as far as this role may read them.
async fn postgres(later: &mut Later, url: SecretString, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<Heard> {
    let at = Location::Postgres(Postgres { url, config: DatabaseConfig::default() });
    let mut heard = Heard::default();
    for name in ["auth", "audit"] {
        match schema(later, &at, name, clock, bar).await {
            Ok(read) => heard = heard.and(read),
            Err(error) if may_not(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(heard)
}

/// PostgreSQL says by this code that a role may not read something.
fn may_not(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Engine(message)) if message.contains("(42501)"))
}

/// A backup holds every schema.
fn backup(later: &mut Later, path: &Path, bar: &ProgressBar) -> anyhow::Result<Heard> {
    let backup = Backup::check(path, bar)?;
    let mut items = backup.items()?;
    let mut table = None;
    while let Some(item) = items.next()? {
        match (item, &table) {
            (Item::Table(next), _) => table = Some(next),
            (Item::Row(row), Some(table)) => later.row(table, &row),
            _ => {}
        }
    }
    Ok(Heard { trail: true, undelivered: true })
}

async fn schema(later: &mut Later, at: &Location, name: &'static str, clock: &Clock, bar: &ProgressBar) -> anyhow::Result<Heard> {
    let mut picture = Picture::take(at, scope(name), clock).await?;
    bar.reset();
    bar.set_message("trail");
    bar.set_length(picture.rows());
    let tables = picture.tables().to_vec();
    while let Some(chunk) = picture.next().await? {
        if let Some(table) = tables.get(chunk.table) {
            chunk.rows.iter().for_each(|row| later.row(table, row));
        }
        bar.inc(u64::try_from(chunk.rows.len()).unwrap_or(0));
    }
    let has = |table: &str| tables.iter().any(|known| known.name == table);
    Ok(Heard { trail: has("events"), undelivered: has("users") && has("outbox") })
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Whether a URL says a password, before its host or among its parameters.
fn has_password(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || rest.contains("?password=") || rest.contains("&password=")
}

fn is_sqlite(path: &Path) -> std::io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut begin)?;
    Ok(begin == b"SQLite format 3\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_found_wherever_it_may_be() {
        for url in
            ["postgres://u:p@h/d", "postgresql://u:p%40@[::1]:5432/d", "postgres://h/d?password=x", "postgres://h/d?user=u&password=x"]
        {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://u@h/d", "postgres://h:5432/d", "postgres:///d?host=/run/postgresql&user=u", "postgres://u@h/a:b@c"] {
            assert!(!has_password(url), "{url}");
        }
    }

    #[tokio::test]
    async fn r1_a_trail_with_a_password_in_argv_is_refused_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let words = ["restore", "none.backup", "--trail", "postgres://carelink_audit:canary@db/carelink"];
        let refused = crate::tests::run(dir.path(), &words).await.result.unwrap_err();
        assert!(refused.message.contains("--trail-url-file") && !refused.message.contains("canary"), "{}", refused.message);
        assert_eq!(refused.exit, crate::error::Exit::Usage);
    }
}
