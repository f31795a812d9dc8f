//! `carelink check-config`: reads everything that configures a process and says what would be in force, or all that is wrong with it.
//!
//! Every section is read by its owner's own type and rules. Passwords are never shown: not in URLs, and files that hold secrets are
//! named, not opened.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use carelink_database::DatabaseConfig;
use carelink_platform::{
    config::{ConfigError, SECTIONS, Settings},
    grpc::GrpcConfig,
    process::{KeysConfig, OpsConfig},
    telemetry::TelemetryConfig,
    verified::VerifierConfig,
};
use serde::Serialize;
use serde_json::Value;

use crate::{cli::Context, error::misconfigured, output::Table};

/// Of `carelink check-config --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink check-config
  carelink check-config --config /etc/carelink/carelink.toml
  carelink check-config --data /var/lib/carelink --json

Reads the file and the environment as a start would, starts nothing, and exits with 64 where something cannot be used.";

/// What names databases; read by nobody's section type.
const URLS: [&str; 4] = ["database_url", "database_url_file", "migrate_url", "migrate_url_file"];
const STORES: [&str; 3] = ["auth", "token", "audit"];

/// One setting, as it would be in force.
#[derive(Debug, Serialize)]
struct InForce {
    setting: String,
    value: Value,
    /// `default`, `file`, `environment`.
    from: &'static str,
}

/// Everything that is configured, read anew for each section: what is wrong with one must not hide the others.
struct Reader<'a> {
    file: Option<PathBuf>,
    environment: &'a [(String, String)],
    problems: Vec<String>,
    values: BTreeMap<String, Value>,
    defaults: BTreeMap<String, Value>,
}

/// Does it.
pub(crate) fn run(context: &mut Context) -> anyhow::Result<()> {
    let own = context.data().join("carelink.toml");
    let file = context.config().map(Path::to_owned).or_else(|| own.is_file().then_some(own));
    let environment = context.environment_pairs().to_vec();
    let mut reader = Reader { file, environment: &environment, problems: Vec::new(), values: BTreeMap::new(), defaults: BTreeMap::new() };
    reader.everything()?;
    if !reader.problems.is_empty() {
        let sentence = match reader.problems.as_slice() {
            [one] => one.clone(),
            several => format!("{} settings cannot be used: {}", several.len(), several.join("; ")),
        };
        return Err(misconfigured(sentence));
    }
    let in_force = reader.in_force();
    let files: Vec<&Path> = reader.file.iter().map(PathBuf::as_path).collect();
    context.console.value(&serde_json::json!({ "ok": true, "files": files, "settings": in_force }))?;
    let mut table = Table::new(["SETTING", "VALUE", "FROM"]);
    for setting in &in_force {
        table.row([setting.setting.clone(), shown(&setting.value), setting.from.to_owned()]);
    }
    context.console.table(table)?;
    context.console.note(match &reader.file {
        Some(file) => format!("{} and the environment can be used.", file.display()),
        None => "There is no file; the environment can be used.".to_owned(),
    });
    if environment.iter().any(|(name, value)| name == "DATABASE_URL" && !value.is_empty()) {
        context
            .console
            .note("DATABASE_URL is for the services of a fleet: `carelink up` keeps everything in its directory and refuses it.");
    }
    Ok(())
}

impl Reader<'_> {
    fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::load(self.file.as_deref(), self.environment.iter().cloned())?;
        settings.pass_over_databases()?;
        Ok(settings)
    }

    /// Reads with one owner's rules; what is wrong is noted once.
    fn read<T>(&mut self, read: impl FnOnce(&mut Settings) -> Result<T, ConfigError>, keep: impl FnOnce(&mut Self, T)) {
        match self.settings().and_then(|mut settings| read(&mut settings)) {
            Ok(read) => keep(self, read),
            Err(error) => {
                let problem = error.to_string();
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
            }
        }
    }

    fn keep<T: Serialize + Default>(&mut self, section: &str, value: &T) {
        flatten(section, &serde_json::to_value(value).unwrap_or_default(), &mut self.values);
        flatten(section, &serde_json::to_value(T::default()).unwrap_or_default(), &mut self.defaults);
    }

    fn everything(&mut self) -> anyhow::Result<()> {
        self.settings()?; // what cannot be read at all is one sentence
        self.read(
            |given| {
                given.ignore(SECTIONS);
                given.finish()
            },
            |_, ()| {},
        );
        self.read(|given| given.section::<TelemetryConfig>("telemetry"), |all, read| all.keep("telemetry", &read));
        self.read(auth_service::Config::read, |all, read| all.keep("password", &read));
        self.read(|given| given.section::<auth_service::MailConfig>("mail")?.validate(), |all, read| all.keep("mail", &read));
        self.read(token_service::Config::read, |all, read| {
            all.keep("session", &read.session);
            all.keep("token", &read.token);
            all.keep("legacy", &read.legacy);
        });
        self.read(|given| given.section::<audit_service::Config>("audit")?.validate(), |all, read| all.keep("audit", &read));
        let gateway = |given: &mut Settings| {
            let config = gateway::Config::read(given)?;
            config.validate(&config.gateway.listen)?;
            Ok(config)
        };
        self.read(gateway, |all, read| {
            all.keep("gateway", &read.gateway);
            all.keep("limits", &read.limits);
        });
        self.read(|given| given.section::<VerifierConfig>("verifier"), |all, read| all.keep("verifier", &read));
        self.read(|given| given.section::<DatabaseConfig>("database")?.validate(), |all, read| all.keep("database", &read));
        self.read(|given| given.section::<GrpcConfig>("grpc")?.validate(), |all, read| all.keep("grpc", &read));
        self.read(|given| given.section::<OpsConfig>("ops")?.validate(), |all, read| all.keep("ops", &read));
        self.read(|given| given.section::<KeysConfig>("keys"), |all, read| all.keep("keys", &read));
        for store in STORES {
            self.read(|given| given.database_url(store), |_, _| {});
            for key in URLS {
                self.read(
                    |given| given.take::<String>(store, key),
                    |all, url| {
                        if let Some(url) = url {
                            all.values.insert(format!("{store}.{key}"), Value::String(url));
                        }
                    },
                );
            }
        }
        Ok(())
    }

    fn in_force(&self) -> Vec<InForce> {
        let of_environment = |setting: &str| {
            let variable = format!("CARELINK_{}", setting.replace('.', "__").to_uppercase());
            let other = match setting {
                "gateway.allowed_hosts" => "ALLOWED_HOSTS",
                "limits.redis_url" => "REDIS_URL",
                _ => "",
            };
            self.environment.iter().any(|(name, _)| *name == variable || name == other)
        };
        let from = |setting: &str, value: &Value| match self.defaults.get(setting) {
            _ if of_environment(setting) => "environment",
            Some(default) if default == value => "default",
            _ => "file",
        };
        let one = |(setting, value): (&String, &Value)| InForce {
            setting: setting.clone(),
            from: from(setting, value),
            value: match value {
                Value::String(text) => Value::String(masked(text)),
                other => other.clone(),
            },
        };
        self.values.iter().map(one).collect()
    }
}

/// `limits.sign_in.network.burst`: one line for each value that is no table.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, below) in members {
                flatten(&format!("{path}.{name}"), below, into);
            }
        }
        other => {
            into.insert(path.to_owned(), other.clone());
        }
    }
}

/// A URL without its password; any other text as it is.
pub(crate) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_lowercase().contains("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    let query = query.map(|query| format!("?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&"))).unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::{
        cli::{self, Cli},
        error::{Exit, Report},
        output::Console,
        tests::Written,
    };

    async fn check(file: &str, environment: &[(&str, &str)]) -> Result<Value, Report> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("carelink.toml"), file).unwrap();
        let cli = Cli::try_parse_from(["carelink", "check-config", "--json", "--data", dir.path().to_str().unwrap()]).unwrap();
        let out = Written::default();
        let console = Console::new(true, out.clone(), std::io::sink());
        let mut context = Context::new(cli.global, console, carelink_platform::random::Random::seeded(1), None)
            .with_environment(environment.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Box::pin(cli::run(cli.command, &mut context)).await.map_err(|error| Report::of(&error))?;
        Ok(serde_json::from_str(&out.text()).unwrap())
    }

    fn setting<'a>(told: &'a Value, name: &str) -> &'a Value {
        told["settings"].as_array().unwrap().iter().find(|setting| setting["setting"] == name).unwrap_or(&Value::Null)
    }

    #[tokio::test]
    async fn what_would_be_in_force_is_told_with_where_it_comes_from() {
        let told =
            check("[session]\nlifetime = \"10h\"\n", &[("CARELINK_SESSION__GRACE", "1m"), ("ALLOWED_HOSTS", "a.example")]).await.unwrap();
        assert_eq!(setting(&told, "session.lifetime"), &json!({ "setting": "session.lifetime", "value": "10h", "from": "file" }));
        assert_eq!(setting(&told, "session.grace")["from"], "environment");
        assert_eq!(
            setting(&told, "session.access_lifetime"),
            &json!({ "setting": "session.access_lifetime", "value": "15m", "from": "default" })
        );
        assert_eq!(setting(&told, "gateway.allowed_hosts")["value"], json!(["a.example"]));
        assert_eq!(setting(&told, "ops.drain_delay")["from"], "default");
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_told_at_once_with_the_nearest_key() {
        let file = "[session]\nlifetim = \"10h\"\n[gateway]\naccount_prefix = \"account\"\n[sesion]\nx = 1\n";
        let refused = check(file, &[]).await.unwrap_err();
        assert_eq!(refused.exit, Exit::Configuration);
        for words in ["3 settings", "did you mean `session.lifetime`?", "did you mean `session`?", "`gateway.account_prefix`"] {
            assert!(refused.message.contains(words), "{words}: {}", refused.message);
        }
        let refused = check("[session\n", &[]).await.unwrap_err();
        assert!(refused.exit == Exit::Configuration && refused.message.contains("carelink.toml"), "{}", refused.message);
        let refused = check("", &[("CARELINK_NONSENSE", "1")]).await.unwrap_err();
        assert_eq!(refused.exit, Exit::Configuration);
    }

    #[tokio::test]
    async fn no_secret_is_shown() {
        let environment = [
            ("CARELINK_TOKEN__DATABASE_URL", "postgres://carelink_token:canary@db/x?sslmode=require"),
            ("CARELINK_AUDIT__MIGRATE_URL", "postgres://db/x?user=a&password=canary"),
            ("REDIS_URL", "redis://:canary@cache:6379"),
        ];
        let told = check("", &environment).await.unwrap();
        assert!(!told.to_string().contains("canary"), "{told}");
        assert_eq!(setting(&told, "token.database_url")["value"], "postgres://carelink_token:***@db/x?sslmode=require");
        assert_eq!(setting(&told, "audit.migrate_url")["value"], "postgres://db/x?user=a&password=***");
    }

    #[tokio::test]
    async fn every_section_is_read_by_its_owners_type() {
        let told = check("", &[]).await.unwrap();
        let settings = told["settings"].as_array().unwrap();
        for section in SECTIONS.iter().filter(|section| **section != "auth") {
            let has = |setting: &Value| setting["setting"].as_str().unwrap().starts_with(&format!("{section}."));
            assert!(settings.iter().any(has), "{section} is not shown: read it in check_config.rs");
        }
    }
}
