//! Section `limits`: the budgets, and the Redis that lets all gateways share them.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use carelink_platform::{
    config::{ConfigError, list},
    secrets::{ExposeSecret, MasterKey, read_secret_file},
};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::proxies::Cidr;

/// What the key file is asked for (K3).
const KEY_PURPOSE: &str = "gateway/limits/v1";

carelink_platform::settings! {
    /// A budget: so many at once, and so many more each minute.
    #[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
    pub struct Budget {
        /// At once.
        pub burst: u32,
        /// Refilled evenly over a minute.
        pub per_minute: u32,
    }
}

carelink_platform::settings! {
    /// The budgets of one operation.
    #[derive(Clone, Copy, Debug, Deserialize, Serialize)]
    pub struct Budgets {
        /// Of a network: an IPv4 address or an IPv6 /64.
        pub network: Budget,
        /// Of an account within a network.
        pub account: Budget,
    }
}

carelink_platform::settings! {
    /// Section `limits`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct LimitsConfig {
        /// Whether there are any.
        pub enabled: bool,
        /// For signing in.
        pub sign_in: Budgets,
        /// For refreshing.
        pub refresh: Budgets,
        /// Where all gateways keep them together (REDIS_URL); none: each for itself.
        pub redis_url: Option<RedisUrl>,
        /// A file that holds it, since it may hold a password.
        pub redis_url_file: Option<PathBuf>,
        /// Whose certificates are believed of a `rediss://`; none: those that this machine believes.
        pub redis_ca_file: Option<PathBuf>,
        /// The key under which Redis knows names and networks, the same for all gateways; none: who reads Redis can guess them.
        pub key_file: Option<PathBuf>,
        /// Addresses and blocks that have no budget as a network: a hospital's own. The accounts within them have theirs.
        #[serde(deserialize_with = "list")]
        pub trusted_networks: Vec<Cidr>,
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sign_in: Budgets { network: Budget { burst: 2_000, per_minute: 1_200 }, account: Budget { burst: 20, per_minute: 20 } },
            refresh: Budgets {
                network: Budget { burst: 20_000, per_minute: 600_000 },
                account: Budget { burst: 1_000, per_minute: 6_000 },
            },
            redis_url: None,
            redis_url_file: None,
            redis_ca_file: None,
            key_file: None,
            trusted_networks: Vec::new(),
        }
    }
}

impl LimitsConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, budgets) in [("limits.sign_in", &self.sign_in), ("limits.refresh", &self.refresh)] {
            for (part, budget) in [("network", budgets.network), ("account", budgets.account)] {
                if budget.burst == 0 || budget.per_minute == 0 {
                    return Err(ConfigError::invalid(
                        format!("{key}.{part}"),
                        "burst and per_minute are at least 1; limits.enabled turns limits off",
                    ));
                }
            }
        }
        Ok(())
    }

    /// What keys in Redis are hashed under.
    pub(super) fn key(&self) -> Result<Key, ConfigError> {
        let Some(path) = &self.key_file else { return Ok(Key::new(HMAC_SHA256, &[])) };
        let key = MasterKey::load(path).map_err(|error| ConfigError::invalid("limits.key_file", error.to_string()))?;
        Ok(Key::new(HMAC_SHA256, &key.derive::<32>(KEY_PURPOSE)))
    }

    /// The Redis to share through, where one is named. Nothing is connected.
    pub(super) fn redis(&self) -> Result<Option<Client>, ConfigError> {
        let url = match (&self.redis_url, &self.redis_url_file) {
            _ if !self.enabled => return Ok(None),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(ConfigError::invalid("limits.redis_url_file", "stands beside limits.redis_url: keep one")),
            (Some(url), None) => url.clone(),
            (None, Some(path)) => {
                let key = "limits.redis_url_file";
                let text = read_secret_file(path).map_err(|error| ConfigError::invalid(key, error.to_string()))?;
                text.expose_secret().parse().map_err(|error: RedisUrlError| ConfigError::invalid(key, error.to_string()))?
            }
        };
        let info =
            url.0.as_str().into_connection_info().map_err(|_| ConfigError::invalid("limits.redis_url", RedisUrlError.to_string()))?;
        let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = match &self.redis_ca_file {
            Some(_) if !encrypted => {
                return Err(ConfigError::invalid("limits.redis_ca_file", "is of use with a rediss:// address only"));
            }
            Some(path) => {
                let unreadable = |error| ConfigError::invalid("limits.redis_ca_file", format!("{}: {error}", path.display()));
                let root_cert = Some(fs::read(path).map_err(unreadable)?);
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(info),
        };
        client.map(Some).map_err(|error| ConfigError::invalid("limits.redis_url", error.to_string()))
    }
}

/// Where a Redis is, and how to get in. Shown and printed without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// What the address of a Redis looks like. It does not repeat what was given: that may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("is an address such as redis://host:6379, rediss://user:password@host:6379/0 (TLS) or redis+unix:///path/redis.sock")]
pub struct RedisUrlError;

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let known = ["redis://", "rediss://", "redis+unix://"].iter().any(|scheme| text.starts_with(scheme));
        let sound = known && !text.contains(['#', ' ']) && text.into_connection_info().is_ok();
        if sound { Ok(Self(text.to_owned())) } else { Err(RedisUrlError) }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        write!(f, "{scheme}://{}", place.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = serde_json::Value::deserialize(deserializer)?;
        given.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| D::Error::custom(RedisUrlError))
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::config::Settings;

    use super::*;

    fn from(key: &str, value: &str) -> Result<LimitsConfig, ConfigError> {
        Settings::load(None, [(format!("CARELINK_LIMITS__{key}"), value.to_owned())]).unwrap().section("limits")
    }

    #[test]
    fn a_budget_of_nothing_is_refused() {
        let mut config = LimitsConfig::default();
        config.refresh.account.burst = 0;
        assert!(config.validate().unwrap_err().to_string().contains("limits.refresh.account"));
    }

    #[test]
    fn a_redis_is_named_in_any_of_three_ways_and_its_password_is_never_shown() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://:canary@[::1]:6380/3", "redis://[::1]:6380/3"),
            ("rediss://care:can%40ary@redis.ward.example:6379/0", "rediss://redis.ward.example:6379/0"),
            ("redis+unix:///run/redis.sock?db=1&pass=canary", "redis+unix:///run/redis.sock"),
        ] {
            let config = from("REDIS_URL", url).unwrap();
            assert!(config.redis().unwrap().is_some(), "{url}");
            assert_eq!(config.redis_url.as_ref().map(ToString::to_string).as_deref(), Some(shown));
            assert!(!format!("{config:?}{}", serde_json::to_string(&config).unwrap()).contains("canary"), "{url}");
        }
        let off = LimitsConfig { enabled: false, redis_url: Some("redis://localhost".parse().unwrap()), ..LimitsConfig::default() };
        assert!(off.redis().unwrap().is_none() && LimitsConfig::default().redis().unwrap().is_none());
    }

    #[test]
    fn k3_a_key_that_others_may_read_hashes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("limits.key");
        fs::write(&file, format!("{}\n", "07".repeat(32))).unwrap();
        let config = LimitsConfig { key_file: Some(file.clone()), ..LimitsConfig::default() };
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let sentence = config.key().unwrap_err().to_string();
        assert!(sentence.starts_with("setting `limits.key_file`: ") && sentence.contains("may be read by others"), "{sentence}");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        config.key().unwrap();
    }

    #[test]
    fn networks_are_trusted_by_a_list() {
        assert_eq!(from("TRUSTED_NETWORKS", "192.0.2.0/24, 2001:db8::/32").unwrap().trusted_networks.len(), 2);
        assert!(from("TRUSTED_NETWORKS", "ward").unwrap_err().to_string().starts_with("setting `limits.trusted_networks`"));
    }

    #[test]
    fn a_wrong_address_is_a_sentence_that_does_not_repeat_it() {
        for url in ["", "canary", "http://canary", "redis://", "redis://canary:port", "redis://canary/x", "rediss://canary#insecure", "7"] {
            let sentence = from("REDIS_URL", url).unwrap_err().to_string();
            assert!(sentence.starts_with("setting `limits.redis_url`: is an address such as redis://host:6379"), "{url}: {sentence}");
            assert!(!sentence.contains("canary"), "{sentence}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redis");
        let in_file = || LimitsConfig { redis_url_file: Some(file.clone()), ..LimitsConfig::default() };
        assert!(in_file().redis().unwrap_err().to_string().contains("No such file"));
        fs::write(&file, "canary\n").unwrap();
        assert!(!in_file().redis().unwrap_err().to_string().contains("canary"));
        fs::write(&file, "redis://:canary@localhost\n").unwrap();
        assert!(in_file().redis().unwrap().is_some());
        let both = LimitsConfig { redis_url: Some("redis://localhost".parse().unwrap()), ..in_file() };
        assert!(both.redis().unwrap_err().to_string().contains("keep one"));
        let plain = LimitsConfig { redis_ca_file: Some(file.clone()), ..in_file() };
        assert!(plain.redis().unwrap_err().to_string().contains("rediss://"));
    }
}
