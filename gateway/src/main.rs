//! The gateway as a process of its own: reads and checks its configuration.
//!
//! Between processes a service is who its certificate says; until a fleet has those (mTLS), nothing here could prove to token-service
//! that it is the gateway, and so it does not try: `carelink up` runs it beside the services it calls.

use std::{io::Write, path::Path, process::ExitCode};

use carelink_platform::config::{ConfigError, Settings};
use gateway::Config;

/// Exit code for a configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 64;
/// What other processes read in the same file.
const OTHERS: &[&str] = &["audit", "auth", "legacy", "password", "session", "telemetry", "token", "verifier"];

fn main() -> ExitCode {
    let sentence = match read(std::env::args_os().nth(1).as_deref().map(Path::new)) {
        Err(error) => error.to_string(),
        Ok(_) => "the configuration is sound, but this process cannot prove to the services who it is; run `carelink up`".to_owned(),
    };
    let _ = writeln!(std::io::stderr(), "gateway: {sentence}"); // nobody left to tell
    ExitCode::from(BAD_CONFIGURATION)
}

/// The sections of a gateway from the file, if one is named, and the environment.
fn read(file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut settings = Settings::load(file, std::env::vars())?;
    let config = Config { gateway: settings.section("gateway")?, limits: settings.section("limits")? };
    settings.ignore(OTHERS);
    settings.finish()?;
    config.validate(&[])?;
    Ok(config)
}
