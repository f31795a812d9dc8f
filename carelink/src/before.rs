//! What is done before a data directory is brought up to date: a backup of it as it was, beside it, kept until somebody removes it.
//!
//! A migration is one way. Whoever wants back to the version before restores this file with it.

use std::path::{Path, PathBuf};

use carelink_database::{Location, copy};
use carelink_platform::clock::Clock;
use indicatif::ProgressBar;

use crate::{
    backup,
    deployment::{Deployment, Schema},
    error::failed,
    migrate::missing,
};

/// Writes the backup where a schema lacks a step; none where nothing is to be done, or nothing is there yet.
pub(crate) async fn keep(directory: &Path, clock: &Clock) -> anyhow::Result<Option<PathBuf>> {
    let deployment = Deployment::in_directory(directory);
    let (mut there, mut first) = (Vec::<&Schema>::new(), None);
    for schema in deployment.in_order() {
        let Location::File(path) = &schema.at else { continue };
        // What was made a moment ago, by a first start that got no further, holds nothing worth keeping.
        if !path.is_file() || copy::applied(&schema.at, schema.name).await?.is_empty() {
            continue;
        }
        there.push(schema);
        first = first.or(missing(schema).await?.into_iter().next().map(|step| format!("{}-{step}", schema.name)));
    }
    let Some(first) = first else { return Ok(None) };
    let stamp = clock.now().floor_to_second().to_string().replace([':', '-'], "");
    let path = directory.join(format!("before-{first}-{stamp}.backup"));
    if path.exists() {
        return Ok(Some(path)); // of a start within the same second, which got no further
    }
    let written = backup::write(&there, &path, clock, &ProgressBar::hidden()).await.map_err(|error| {
        failed(
            "not_backed_up",
            format!(
                "the databases are of an earlier version, and are not brought up to date without a backup of them as they are: {error:#}. \
                 Make room, or take one yourself with that version: carelink backup"
            ),
        )
    })?;
    backup::note(directory, &path, &written, clock.now());
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use carelink_database::{Db, DbOptions, Migration};
    use carelink_platform::clock::Timestamp;

    use super::*;
    use crate::{backup::file::Backup, deployment::database};

    async fn open(directory: &Path, name: &'static str, migrations: &'static [Migration]) {
        let at = Location::File(database(directory, name));
        let db = Db::open(DbOptions { at, schema: name, migrations, clock: Clock::system() }).await.unwrap();
        drop(db);
    }

    #[tokio::test]
    async fn what_an_earlier_version_left_is_kept_before_it_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Timestamp::from_secs(1_795_507_200));
        assert_eq!(keep(dir.path(), &clock).await.unwrap(), None, "nothing is there yet");
        open(dir.path(), "audit", &audit_service::store::MIGRATIONS[..1]).await;
        open(dir.path(), "token", &token_service::store::MIGRATIONS[..1]).await;
        open(dir.path(), "auth", &auth_service::store::MIGRATIONS[..1]).await;
        let kept = keep(dir.path(), &clock).await.unwrap().unwrap();
        assert_eq!(kept.file_name().unwrap(), "before-token-0002_fleet-20261124T080000Z.backup");
        assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        let whole = Backup::check(&kept, &ProgressBar::hidden()).unwrap();
        assert_eq!(whole.schema("token").unwrap().migrations, ["0000_platform", "0001_sessions"], "as it was");
        assert_eq!(whole.schemas.len(), 3);

        hands.advance(std::time::Duration::from_secs(60));
        for name in ["audit", "token", "auth"] {
            let all = match name {
                "audit" => audit_service::store::MIGRATIONS,
                "token" => token_service::store::MIGRATIONS,
                _ => auth_service::store::MIGRATIONS,
            };
            open(dir.path(), name, all).await;
        }
        assert_eq!(keep(dir.path(), &clock).await.unwrap(), None, "up to date");
        assert!(kept.is_file(), "and kept");
    }
}
