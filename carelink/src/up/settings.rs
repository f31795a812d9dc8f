//! Everything that `up` is configured by, each section as its owner types it.

use std::path::Path;

use carelink_platform::{
    config::{ConfigError, Settings as Given},
    telemetry::TelemetryConfig,
    verified::VerifierConfig,
};

/// All sections.
pub(super) struct Settings {
    pub(super) telemetry: TelemetryConfig,
    pub(super) auth: auth_service::Config,
    pub(super) mail: auth_service::MailConfig,
    pub(super) token: token_service::Config,
    pub(super) audit: audit_service::Config,
    pub(super) gateway: gateway::Config,
    pub(super) verifier: VerifierConfig,
}

impl Settings {
    /// Reads the file named, else `carelink.toml` of the data directory where there is one, and the environment.
    pub(super) fn read(file: Option<&Path>, data: &Path) -> Result<Self, ConfigError> {
        let own = data.join("carelink.toml");
        let file = file.or_else(|| own.is_file().then_some(own.as_path()));
        let environment = || std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        if let Some((_, url)) = environment().find(|(name, _)| name == "DATABASE_URL") {
            return Err(database_url(&url));
        }
        let mut given = Given::load(file, environment())?;
        let settings = Self {
            telemetry: given.section("telemetry")?,
            auth: auth_service::Config::read(&mut given)?,
            mail: given.section::<auth_service::MailConfig>("mail")?.validate()?,
            token: token_service::Config::read(&mut given)?,
            audit: given.section::<audit_service::Config>("audit")?.validate()?,
            gateway: gateway::Config { gateway: given.section("gateway")?, limits: given.section("limits")? },
            verifier: given.section("verifier")?,
        };
        given.finish()?;
        Ok(settings)
    }
}

/// `up` keeps its data in its directory; a DATABASE_URL is most likely the predecessor's. Its password is not repeated.
fn database_url(url: &str) -> ConfigError {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let named = if scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') && !scheme.is_empty() {
        format!(" ({scheme}:..)")
    } else {
        String::new()
    };
    ConfigError::invalid(
        "DATABASE_URL",
        format!(
            "`up` keeps everything in its data directory and does not write to another database{named}. \
             If this is your Django database, take its users and sessions over with `carelink import django`; then unset DATABASE_URL"
        ),
    )
}
