//! Where the databases of a deployment are: in a data directory, or on PostgreSQL by each service's settings.
//!
//! What works on them offline (`migrate`, `backup`, `restore`) comes here first. The owner's `migrate_url` is preferred where it is
//! given, since the services' own roles may neither change a schema nor fill the trail.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use carelink_database::{DatabaseConfig, Location, Migration, Postgres};
use carelink_platform::{
    config::{ConfigError, SECTIONS, Settings},
    secrets::{SecretString, read_secret_file},
};
use rustix::fs::{FlockOperation, flock};

use crate::{cli::Context, error::failed};

/// The section of each service that has a database.
const SECTION: [&str; 3] = ["auth", "token", "audit"];

/// A service's schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    /// `auth`, `token`, `audit`.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) at: Location,
    /// What makes it.
    pub(crate) migrations: &'static [Migration],
}

/// The three schemas of a deployment.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) auth: Schema,
    pub(crate) token: Schema,
    pub(crate) audit: Schema,
    /// The data directory, where they are files.
    pub(crate) directory: Option<PathBuf>,
}

impl Schema {
    fn new(name: &'static str, at: Location) -> Self {
        let migrations = match name {
            "auth" => auth_service::store::MIGRATIONS,
            "token" => token_service::store::MIGRATIONS,
            _ => audit_service::store::MIGRATIONS,
        };
        Self { name, at, migrations }
    }

    /// Whether it is on PostgreSQL.
    pub(crate) fn on_postgres(&self) -> bool {
        matches!(self.at, Location::Postgres(_))
    }

    /// How its engine is called.
    pub(crate) fn engine(&self) -> &'static str {
        if self.on_postgres() { "postgresql" } else { "sqlite" }
    }
}

impl Deployment {
    /// What is configured.
    pub(crate) fn read(context: &Context) -> anyhow::Result<Self> {
        // Whoever names a directory and no configuration means that one, whatever DATABASE_URL the environment has for others.
        let files = context.data_given().is_some() && context.config().is_none();
        Self::configured(context.settings()?, context.data(), files)
    }

    fn configured(mut settings: Settings, data: &Path, files: bool) -> anyhow::Result<Self> {
        let mut urls = Vec::new();
        for section in SECTION {
            let own = owner_url(&mut settings, section)?;
            urls.push(own.or(settings.database_url(section)?).filter(|_| !files));
        }
        let config = settings.section::<DatabaseConfig>("database")?.validate()?;
        settings.ignore(SECTIONS);
        settings.finish()?;
        let missing = urls.iter().zip(SECTION).find(|(url, _)| url.is_none()).map(|(_, section)| section);
        if let (Some(section), true) = (missing, urls.iter().any(Option::is_some)) {
            let message = "is missing, though other services are on PostgreSQL; all three have to be";
            return Err(ConfigError::invalid(format!("{section}.database_url"), message).into());
        }
        let at = |name: &'static str, url: Option<SecretString>| {
            let file = || Location::File(database(data, name));
            Schema::new(name, url.map_or_else(file, |url| Location::Postgres(Postgres { url, config: config.clone() })))
        };
        let mut urls = urls.into_iter().map(Option::from).map(Option::flatten);
        let mut next = |name| at(name, urls.next().flatten());
        let directory = missing.map(|_| data.to_owned());
        Ok(Self { auth: next("auth"), token: next("token"), audit: next("audit"), directory })
    }

    /// Those of a data directory, whatever is configured.
    pub(crate) fn in_directory(data: &Path) -> Self {
        let at = |name: &'static str| Schema::new(name, Location::File(database(data, name)));
        Self { auth: at("auth"), token: at("token"), audit: at("audit"), directory: Some(data.to_owned()) }
    }

    /// All of them; whoever reads them in this order reads nothing that refers to what it has not read yet: a subject is never newer
    /// than its user, an event that was acknowledged is in the trail.
    pub(crate) fn in_order(&self) -> [&Schema; 3] {
        [&self.token, &self.auth, &self.audit]
    }
}

/// A service's database in a data directory.
pub(crate) fn database(directory: &Path, service: &str) -> PathBuf {
    directory.join(format!("{service}.sqlite3"))
}

/// Holds the data directory against a `carelink up`, until dropped.
pub(crate) fn hold(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("lock");
    let unusable = |error: std::io::Error| failed("data_directory", format!("{}: {error}", path.display()));
    let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
    flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => {
            failed("data_directory_in_use", format!("`carelink up` runs on {}; stop it first", directory.display()))
        }
        error => unusable(error.into()),
    })?;
    Ok(held)
}

fn owner_url(settings: &mut Settings, section: &'static str) -> Result<Option<SecretString>, ConfigError> {
    let url = settings.take::<String>(section, "migrate_url")?;
    let file = settings.take::<PathBuf>(section, "migrate_url_file")?;
    match (url, file) {
        (Some(_), Some(_)) => Err(ConfigError::invalid(format!("{section}.migrate_url_file"), "give this or migrate_url, not both")),
        (Some(url), None) => Ok(Some(SecretString::from(url))),
        (None, Some(path)) => read_secret_file(&path)
            .map(Some)
            .map_err(|error| ConfigError::invalid(format!("{section}.migrate_url_file"), error.to_string())),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::secrets::ExposeSecret;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> anyhow::Result<Deployment> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Deployment::configured(Settings::load(None, given).unwrap(), Path::new("d"), false)
    }

    fn url(schema: &Schema) -> &str {
        match &schema.at {
            Location::Postgres(postgres) => postgres.url.expose_secret(),
            Location::File(path) => path.to_str().unwrap(),
        }
    }

    #[test]
    fn without_a_url_everything_is_in_the_data_directory() {
        let read = read(&[]).unwrap();
        assert_eq!(
            (url(&read.auth), url(&read.audit), read.directory.as_deref()),
            ("d/auth.sqlite3", "d/audit.sqlite3", Some(Path::new("d")))
        );
    }

    #[test]
    fn the_owners_url_goes_before_the_services() {
        let one = [("DATABASE_URL", "postgres://x/all"), ("CARELINK_TOKEN__MIGRATE_URL", "postgres://owner@x/all")];
        let read = read(&one).unwrap();
        assert_eq!((url(&read.auth), url(&read.token), read.directory), ("postgres://x/all", "postgres://owner@x/all", None));
    }

    #[test]
    fn half_a_fleet_is_a_configuration_error() {
        let error = read(&[("CARELINK_TOKEN__DATABASE_URL", "postgres://x/t")]).unwrap_err();
        assert!(error.to_string().starts_with("setting `auth.database_url`: is missing"), "{error}");
    }
}
