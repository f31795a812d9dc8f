//! Sections `session`, `token` and `legacy`.

use std::{collections::BTreeMap, time::Duration};

use carelink_platform::{
    clock::Timestamp,
    config::{ConfigError, Settings, duration},
};
use serde::{Deserialize, Serialize};

use crate::domain::{keys::Policy, service::ServiceAccount, session::Mode};

/// How long a refresh may take (T4); grace must be longer, so that a late attempt cannot look like reuse.
pub(crate) const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// Everything that token-service is configured by.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    /// Section `session`.
    pub session: SessionConfig,
    /// Section `token`.
    pub token: TokenConfig,
    /// Section `legacy`.
    pub legacy: LegacyConfig,
}

carelink_platform::settings! {
    /// Section `session`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct SessionConfig {
        /// How long a session lasts; no refresh moves its end.
        #[serde(with = "duration")]
        pub lifetime: Duration,
        /// How long an access token is good for.
        #[serde(with = "duration")]
        pub access_lifetime: Duration,
        /// How long the token before gets the same successor again; `0s`: never.
        #[serde(with = "duration")]
        pub grace: Duration,
        /// A session that nobody uses for so long ends (plus two minutes); what a page does in the background is no use. `0s`: none does.
        #[serde(with = "duration")]
        pub idle_timeout: Duration,
        /// The same of sessions in a browser's cookies; `0s`: as `idle_timeout`.
        #[serde(with = "duration")]
        pub cookie_idle_timeout: Duration,
        /// How many sessions a user may have at once; with one more the oldest ends. `0`: any number.
        pub max_per_user: u32,
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(12 * 3_600),
            access_lifetime: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(30),
            idle_timeout: Duration::ZERO,
            cookie_idle_timeout: Duration::from_secs(30 * 60),
            max_per_user: 0,
        }
    }
}

impl SessionConfig {
    /// Idleness of so long ends a session; None: none does (S12).
    pub(crate) fn idle_limit(&self, mode: Mode) -> Option<Duration> {
        let of_cookies = Some(self.cookie_idle_timeout).filter(|limit| mode == Mode::Cookies && !limit.is_zero());
        of_cookies.or(Some(self.idle_timeout)).filter(|limit| !limit.is_zero())
    }

    /// How many sessions a user may have; None: any number.
    pub(crate) fn cap(&self) -> Option<usize> {
        usize::try_from(self.max_per_user).ok().filter(|most| *most > 0)
    }
}

carelink_platform::settings! {
    /// Section `token`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct TokenConfig {
        /// `iss` of access tokens.
        pub issuer: String,
        /// `aud` of access tokens.
        pub audience: String,
        /// How long a key signs before the next one does; `0s`: until an operator says so.
        #[serde(with = "duration")]
        pub rotate_keys_every: Duration,
        /// How long a key is published before it signs: longer than anybody keeps the public keys (5 minutes), and then some.
        #[serde(with = "duration")]
        pub publish_keys_for: Duration,
        /// Which services of the deployment get tokens of their own, by the names in their certificates, and for what.
        #[serde(skip_deserializing)]
        pub service_accounts: BTreeMap<String, ServiceAccount>,
    }
}

impl TokenConfig {
    /// How keys follow each other (K1).
    pub(crate) fn key_policy(&self) -> Policy {
        Policy { rotate_every: self.rotate_keys_every, publish_for: self.publish_keys_for }
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            issuer: "carelink".to_owned(),
            audience: "carelink".to_owned(),
            rotate_keys_every: Duration::from_secs(30 * 24 * 3_600),
            publish_keys_for: Duration::from_secs(600),
            service_accounts: BTreeMap::new(),
        }
    }
}

carelink_platform::settings! {
    /// Section `legacy`: the predecessor's tokens.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct LegacyConfig {
        /// Past this time (RFC 3339) none is accepted.
        pub until: Option<String>,
        /// None is accepted longer than so after its source's first import.
        #[serde(with = "duration")]
        pub max_age: Duration,
        /// `outstanding`: those that an import found in the source's tables. `signed`: any that the source signed for a known active user
        /// before it was imported last and did not blacklist; whoever holds its SECRET_KEY can make such until `legacy.until`, which must be set.
        pub accept: Accept,
    }
}

impl Default for LegacyConfig {
    fn default() -> Self {
        Self { until: None, max_age: Duration::from_secs(30 * 24 * 3_600), accept: Accept::Outstanding }
    }
}

/// Which of a predecessor's tokens are accepted (L3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Those that an import found outstanding.
    #[default]
    Outstanding,
    /// Any that is well signed, of a known active user, from before the last import, and not blacklisted.
    Signed,
}

impl LegacyConfig {
    /// Until when a token is believed that no import found; None: none is.
    pub(crate) fn signed_until(&self) -> Result<Option<Timestamp>, ConfigError> {
        match (self.accept, self.until()?) {
            (Accept::Outstanding, _) => Ok(None),
            (Accept::Signed, None) => Err(ConfigError::invalid(
                "legacy.accept",
                "signed needs legacy.until: so long whoever holds the predecessor's SECRET_KEY can make tokens",
            )),
            (Accept::Signed, until) => Ok(until),
        }
    }

    pub(crate) fn until(&self) -> Result<Option<Timestamp>, ConfigError> {
        let parse = |text: &String| {
            Timestamp::parse_rfc3339(text)
                .map_err(|_| ConfigError::invalid("legacy.until", format!("{text} is not a time such as 2027-01-31T00:00:00Z")))
        };
        self.until.as_ref().map(parse).transpose()
    }
}

impl Config {
    /// Reads and checks the sections.
    ///
    /// # Errors
    /// Where a value cannot be used.
    pub fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        let service_accounts = settings.take("token", "service_accounts")?.unwrap_or_default();
        let token = TokenConfig { service_accounts, ..settings.section("token")? };
        let config = Self { session: settings.section("session")?, token, legacy: settings.section("legacy")? };
        let SessionConfig { lifetime, access_lifetime, grace, idle_timeout, cookie_idle_timeout, .. } = config.session;
        let second = Duration::from_secs(1);
        if access_lifetime < second || access_lifetime > lifetime {
            return Err(ConfigError::invalid("session.access_lifetime", "must be at least 1s and not above session.lifetime"));
        }
        if lifetime > Duration::from_secs(30 * 24 * 3_600) {
            return Err(ConfigError::invalid("session.lifetime", "must not be above 30days"));
        }
        if grace > Duration::from_secs(3_600) {
            return Err(ConfigError::invalid("session.grace", "must not be above 1h: so long a stolen token would pass for its holder's"));
        }
        if grace != Duration::ZERO && grace <= REFRESH_DEADLINE {
            return Err(ConfigError::invalid(
                "session.grace",
                "must be 0s (strict) or longer than a refresh may take (5s): a late answer must not look like reuse",
            ));
        }
        for (key, limit) in [("session.idle_timeout", idle_timeout), ("session.cookie_idle_timeout", cookie_idle_timeout)] {
            if !limit.is_zero() && limit < Duration::from_secs(60) {
                return Err(ConfigError::invalid(key, "must be 0s or at least 1m: verifiers tell what they saw no more often"));
            }
        }
        for (key, value) in [("token.issuer", &config.token.issuer), ("token.audience", &config.token.audience)] {
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(ConfigError::invalid(key, "must be a name or a URL"));
            }
        }
        for (name, account) in &config.token.service_accounts {
            let key = || format!("token.service_accounts.{name}.audiences");
            if account.audiences.is_empty() {
                return Err(ConfigError::invalid(key(), "name the services that it may address"));
            }
            if account.audiences.contains(&config.token.audience) {
                return Err(ConfigError::invalid(key(), "token.audience is for users' tokens: a service's must never pass for one"));
            }
        }
        config.legacy.until()?;
        config.legacy.signed_until()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> Result<Config, ConfigError> {
        Config::read(&mut Settings::load(None, [(key.to_owned(), value.to_owned())]).unwrap())
    }

    #[test]
    fn t4_grace_must_outlast_a_refresh_or_be_zero() {
        assert!(read("CARELINK_SESSION__GRACE", "5s").unwrap_err().to_string().contains("session.grace"));
        read("CARELINK_SESSION__GRACE", "0s").unwrap();
        read("CARELINK_SESSION__GRACE", "6s").unwrap();
        read("CARELINK_SESSION__GRACE", "1h").unwrap();
        assert!(read("CARELINK_SESSION__GRACE", "61m").unwrap_err().to_string().contains("1h"));
    }

    #[test]
    fn service_accounts_address_somebody_and_never_what_users_tokens_do() {
        let toml = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Config::read(&mut Settings::load(Some(file.path()), []).unwrap())
        };
        let read = toml("[token.service_accounts.billing]\naudiences = [\"lab\"]\nroles = [\"reader\"]").unwrap();
        assert_eq!(read.token.service_accounts["billing"].roles, ["reader"]);
        for wrong in ["audiences = []", "audiences = [\"carelink\"]", "audiences = [\"lab\"]\nrole = []"] {
            assert!(toml(&format!("[token.service_accounts.billing]\n{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn l3_signed_tokens_are_accepted_until_a_day_that_is_named() {
        assert!(read("CARELINK_LEGACY__ACCEPT", "signed").unwrap_err().to_string().contains("legacy.until"));
        assert!(read("CARELINK_LEGACY__ACCEPT", "any").unwrap_err().to_string().contains("legacy"));
        read("CARELINK_LEGACY__ACCEPT", "outstanding").unwrap();
        let both = [("CARELINK_LEGACY__ACCEPT", "signed"), ("CARELINK_LEGACY__UNTIL", "2027-01-31T00:00:00Z")];
        let both = both.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let read = Config::read(&mut Settings::load(None, both).unwrap()).unwrap();
        assert!(read.legacy.signed_until().unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_used_names_its_key() {
        assert!(read("CARELINK_SESSION__ACCESS_LIFETIME", "13h").unwrap_err().to_string().contains("session.access_lifetime"));
        assert!(read("CARELINK_LEGACY__UNTIL", "soon").unwrap_err().to_string().contains("legacy.until"));
        assert!(read("CARELINK_TOKEN__ISSUER", "").unwrap_err().to_string().contains("token.issuer"));
    }
}
