//! Where a service's database is, and the section `database`. Here because a process knows it before any database is opened.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, duration};

/// Connections of one process to PostgreSQL: two or three replicas of each service fit into the hundred that it allows by itself.
const DEFAULT_CONNECTIONS: u32 = 10;
/// Below the deadline of a refresh, five seconds (T4): whoever waited in vain can still be told.
const DEFAULT_ACQUIRE: Duration = Duration::from_secs(2);
/// Likewise, for one statement; the lock's and the idle transaction's limits follow from it.
const DEFAULT_STATEMENT: Duration = Duration::from_secs(4);

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A SQLite file that belongs to this process.
    File(PathBuf),
    /// A schema of PostgreSQL, shared with other replicas.
    Postgres(Postgres),
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// A PostgreSQL database and how to use it.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// `postgres://role:password@host:port/database`, of the service's runtime role.
    pub url: SecretString,
    /// The section `database`.
    pub config: DatabaseConfig,
}

crate::settings! {
    /// The section `database`.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct DatabaseConfig {
        /// Connections at most, of one process.
        pub max_connections: u32,
        /// How long whoever needs a connection waits for one.
        #[serde(with = "duration")]
        pub acquire_timeout: Duration,
        /// How long a statement may take.
        #[serde(with = "duration")]
        pub statement_timeout: Duration,
        /// Whether a pooler in transaction mode stands between: nothing outlives a transaction then, prepared statements neither.
        pub pooler: bool,
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { max_connections: DEFAULT_CONNECTIONS, acquire_timeout: DEFAULT_ACQUIRE, statement_timeout: DEFAULT_STATEMENT, pooler: false }
    }
}

impl DatabaseConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Where a value cannot be meant.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.max_connections == 0 {
            return Err(ConfigError::invalid("database.max_connections", "0 would serve nobody; 10 is usual"));
        }
        let below = |key, value: Duration| {
            let fits = value >= Duration::from_millis(10) && value < Duration::from_secs(5);
            fits.then_some(()).ok_or_else(|| ConfigError::invalid(key, "must be 10ms to under 5s, which is all the time a refresh has"))
        };
        below("database.acquire_timeout", self.acquire_timeout)?;
        below("database.statement_timeout", self.statement_timeout)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(pairs: &[(&str, &str)]) -> Result<DatabaseConfig, ConfigError> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::load(None, given)?.section::<DatabaseConfig>("database")?.validate()
    }

    #[test]
    fn t4_limits_of_the_database_lie_below_the_deadline_of_a_refresh() {
        let told = config(&[("CARELINK_DATABASE__POOLER", "true"), ("CARELINK_DATABASE__STATEMENT_TIMEOUT", "900ms")]).unwrap();
        assert!(told.pooler && told.statement_timeout == Duration::from_millis(900) && told.max_connections == 10);
        for (key, value) in [("MAX_CONNECTIONS", "0"), ("STATEMENT_TIMEOUT", "5s"), ("ACQUIRE_TIMEOUT", "1h")] {
            assert!(config(&[(&format!("CARELINK_DATABASE__{key}"), value)]).unwrap_err().to_string().contains("database."), "{key}");
        }
    }
}
