//! Configuration: defaults < `carelink.toml` < environment `CARELINK_<SECTION>__<KEY>`.
//!
//! A service asks for its section by name and type; a key that no type has is an error that names the nearest one.

mod reference;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
};

use aws_lc_rs::digest;
use figment::{
    Figment, Provider,
    providers::{Format, Serialized, Toml},
    value::Value,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};

use crate::secrets::{SecretString, read_secret_file};

use self::reference::Section;
pub use self::reference::{Documented, Key, Leaf, Nested, Of, Setting};

/// Every section there is, whoever reads it.
pub const SECTIONS: &[&str] = &[
    "session",
    "password",
    "limits",
    "gateway",
    "legacy",
    "auth",
    "token",
    "verifier",
    "audit",
    "telemetry",
    "database",
    "grpc",
    "ops",
    "keys",
    "mail",
];
/// The sections of services that have a database.
const STORES: &[&str] = &["auth", "token", "audit"];

/// Why a configuration is not usable. Processes exit with 64 on it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named does not exist.
    #[error("there is no configuration file {0}")]
    Missing(String),
    /// The file cannot be read as TOML.
    #[error("{file}: {message}")]
    NotToml {
        /// Which.
        file: String,
        /// Where and why.
        message: String,
    },
    /// A key that nothing reads.
    #[error("unknown setting `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// The key as given.
        key: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A value that cannot be used.
    #[error("setting `{key}`: {message}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong with the value, and what would be right.
        message: String,
    },
}

impl ConfigError {
    /// A value that cannot be used, for a section's own validation.
    pub fn invalid(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), message: message.into() }
    }
}

/// Everything that was configured, before it is split into sections.
#[derive(Debug)]
pub struct Settings {
    given: Figment,
    known: BTreeSet<&'static str>,
    taken: BTreeSet<(&'static str, &'static str)>,
    sections: Vec<Section>,
    /// DATABASE_URL: where a service's database is that has no setting of its own for it.
    database_url: Option<SecretString>,
}

impl Settings {
    /// Reads the file, if one is given, and what of the environment concerns us.
    ///
    /// # Errors
    /// Where the file is missing or is not TOML, or a variable `CARELINK_..` names no section and key.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut given = Figment::new();
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::Missing(path.display().to_string()));
            }
            given = given.merge(Toml::file_exact(path));
            given.data().map_err(|error| not_toml(path, &error))?;
        }
        let mut database_url = None;
        for (name, value) in environment {
            if name == "DATABASE_URL" && !value.is_empty() {
                database_url = Some(SecretString::from(value));
                continue;
            }
            if name == "REDIS_URL" && !value.is_empty() {
                given = given.merge(("limits.redis_url", value));
                continue;
            }
            if name == "ALLOWED_HOSTS" {
                let hosts: Vec<&str> = value.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
                given = given.merge(("gateway.allowed_hosts", hosts));
            }
            let Some(path) = name.strip_prefix("CARELINK_") else { continue };
            let Some((section, key)) = path.split_once("__") else {
                return Err(ConfigError::Unknown { key: name.clone(), nearest: Some("CARELINK_<SECTION>__<KEY>".to_owned()) });
            };
            let key = format!("{}.{}", section.to_lowercase(), key.replace("__", ".").to_lowercase());
            let value: Value = value.parse().unwrap_or_else(|_| Value::from(value.as_str()));
            given = given.merge((key, value));
        }
        given.data().map_err(|error| from_figment(&error))?;
        Ok(Self { given, known: BTreeSet::new(), taken: BTreeSet::new(), sections: Vec::new(), database_url })
    }

    /// One key of a section that its type does not have, because somebody else reads it. To be taken before the section is read.
    ///
    /// # Errors
    /// Where the value does not fit.
    pub fn take<T: DeserializeOwned>(&mut self, section: &'static str, key: &'static str) -> Result<Option<T>, ConfigError> {
        self.known.insert(section);
        self.taken.insert((section, key));
        let Ok(value) = self.given.find_value(&format!("{section}.{key}")) else { return Ok(None) };
        value
            .deserialize()
            .map(Some)
            .map_err(|error: figment::Error| ConfigError::invalid(format!("{section}.{key}"), error.kind.to_string()))
    }

    /// Where the database of a service is, if not in a file: `database_url` or `database_url_file` of its section, else DATABASE_URL.
    ///
    /// # Errors
    /// Where both are given, or the file cannot be read.
    pub fn database_url(&mut self, section: &'static str) -> Result<Option<SecretString>, ConfigError> {
        let url = self.take::<String>(section, "database_url")?;
        let file = self.take::<PathBuf>(section, "database_url_file")?;
        match (url, file) {
            (Some(_), Some(_)) => Err(ConfigError::invalid(format!("{section}.database_url_file"), "give this or database_url, not both")),
            (Some(url), None) => Ok(Some(SecretString::from(url))),
            (None, Some(path)) => read_secret_file(&path)
                .map(Some)
                .map_err(|error| ConfigError::invalid(format!("{section}.database_url_file"), error.to_string())),
            (None, None) => Ok(self.database_url.clone()),
        }
    }

    /// Passes over where databases are, for a process that has none or reads the section of another.
    ///
    /// # Errors
    /// Where a value does not fit.
    pub fn pass_over_databases(&mut self) -> Result<(), ConfigError> {
        for section in STORES {
            for key in ["database_url", "migrate_url"] {
                self.take::<String>(section, key)?;
            }
            for key in ["database_url_file", "migrate_url_file"] {
                self.take::<PathBuf>(section, key)?;
            }
        }
        Ok(())
    }

    /// One section, typed. Keys that are not given keep the type's defaults.
    ///
    /// # Errors
    /// Where a key is unknown or a value does not fit.
    pub fn section<T: DeserializeOwned + Serialize + Default + Documented>(&mut self, name: &'static str) -> Result<T, ConfigError> {
        self.known.insert(name);
        let defaults = serde_json::to_value(T::default()).map_err(|error| ConfigError::invalid(name, error.to_string()))?;
        self.sections.push(Section { name, keys: T::keys, defaults: defaults.clone() });
        let mut typed = Figment::from(Serialized::default(name, T::default()));
        if let Ok(mut value) = self.given.find_value(name) {
            if let Value::Dict(_, keys) = &mut value {
                keys.retain(|key, _| !self.taken.iter().any(|(section, taken)| *section == name && *taken == key.as_str()));
            }
            let json = serde_json::to_value(&value).map_err(|error| ConfigError::invalid(name, error.to_string()))?;
            reject_unknown(name, &json, &defaults)?;
            typed = typed.merge((name, value));
        }
        typed.extract_inner(name).map_err(|error| in_section(name, &error))
    }

    /// Marks sections as somebody else's: a file may configure every service, and each process reads its own part.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// To be called when all sections have been asked for.
    ///
    /// # Errors
    /// Where a section was given that nobody asked for.
    pub fn finish(&self) -> Result<(), ConfigError> {
        let data = self.given.data().map_err(|error| from_figment(&error))?;
        for section in data.values().flat_map(|dict| dict.keys()) {
            if !self.known.contains(section.as_str()) {
                return Err(ConfigError::Unknown { key: section.clone(), nearest: nearest(section, self.known.iter().copied()) });
            }
        }
        Ok(())
    }
}

/// Names a configuration in the trail without telling it: the first 16 digits of SHA-256 over its JSON.
pub fn fingerprint(section: &impl Serialize) -> String {
    let json = serde_json::to_vec(section).unwrap_or_default();
    let mut text = hex::encode(digest::digest(&digest::SHA256, &json));
    text.truncate(16);
    text
}

fn reject_unknown(path: &str, given: &serde_json::Value, known: &serde_json::Value) -> Result<(), ConfigError> {
    let (Some(given), Some(known)) = (given.as_object(), known.as_object()) else { return Ok(()) };
    for (key, value) in given {
        let path = format!("{path}.{key}");
        match known.get(key) {
            Some(below) => reject_unknown(&path, value, below)?,
            None => {
                let nearest = nearest(key, known.keys().map(String::as_str));
                let nearest = nearest.map(|near| path.replacen(&format!(".{key}"), &format!(".{near}"), 1));
                return Err(ConfigError::Unknown { key: path, nearest });
            }
        }
    }
    Ok(())
}

fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (strsim::jaro_winkler(given, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.6)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Figment says the section last, and the key within it before.
fn in_section(name: &str, error: &figment::Error) -> ConfigError {
    let within = error.path.iter().map(String::as_str).filter(|part| *part != name);
    let key: Vec<&str> = std::iter::once(name).chain(within).collect();
    let message = error.kind.to_string();
    let message = match message.split_once("expected struct ") {
        Some((found, _)) => format!("{found}expected a table of settings"),
        None => message,
    };
    ConfigError::Invalid { key: key.join("."), message }
}

/// The parser draws several lines; the first says where, the last why.
fn not_toml(file: &Path, error: &figment::Error) -> ConfigError {
    let drawn = error.kind.to_string();
    let mut lines = drawn.lines().filter(|line| !line.trim().is_empty());
    let place = lines.next().unwrap_or_default();
    let message = lines.next_back().map_or_else(|| place.to_owned(), |why| format!("{place}: {why}"));
    ConfigError::NotToml { file: file.display().to_string(), message }
}

fn from_figment(error: &figment::Error) -> ConfigError {
    let key = if error.path.is_empty() { "carelink.toml".to_owned() } else { error.path.join(".") };
    ConfigError::Invalid { key, message: error.kind.to_string() }
}

/// A list, or a text with commas between, as an environment variable has it. For `#[serde(deserialize_with = "..")]`.
///
/// # Errors
/// Where it is neither, or an item does not fit.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let given = serde_json::Value::deserialize(deserializer)?;
    let texts: Option<Vec<String>> = match &given {
        serde_json::Value::String(text) => Some(text.split(',').map(str::to_owned).collect()),
        serde_json::Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let texts = texts.ok_or_else(|| D::Error::custom(format!("{given} is no list of texts; write [\"one\", \"two\"], or \"one, two\"")))?;
    texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Durations as text with a unit: `12h`, `15m`, `400ms`. For `#[serde(with = "..")]`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `12h`.
    ///
    /// # Errors
    /// Where the serializer fails.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    /// Reads `12h`.
    ///
    /// # Errors
    /// Where the text is not a number with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = serde_json::Value::deserialize(deserializer)?;
        let parsed = text.as_str().and_then(|text| humantime::parse_duration(text).ok());
        parsed.ok_or_else(|| Error::custom(format!("{text} is not a duration; write a number with a unit, such as \"12h\" or \"400ms\"")))
    }
}
