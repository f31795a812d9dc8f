//! The sections `gateway` and `limits`, and the bounds that are not configured.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use carelink_platform::config::{ConfigError, Settings, list};
use serde::{Deserialize, Serialize};

use crate::{limits::LimitsConfig, proxies::Cidr};

/// Bodies are at most so long; the largest honest one is a token or two.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// Honest bodies are not longer; what is needs a place among [`MAX_LONG_BODIES`].
pub(crate) const SHORT_BODY: usize = 8 * 1024;
/// Longer bodies on their way at the same time: 16 MiB of memory.
pub(crate) const MAX_LONG_BODIES: usize = 256;
/// What is too long is read and thrown away up to here, so that the client gets to read its 413; past it the connection closes.
pub(crate) const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
/// All headers of a request together.
pub(crate) const HEADER_LIMIT: usize = 32 * 1024;
/// Headers of a request.
pub(crate) const MAX_HEADERS: usize = 64;
/// How long a body may take to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a sign-in may take once its body is there (T4): it may have to wait for others to be hashed.
pub(crate) const SIGN_IN_DEADLINE: Duration = Duration::from_secs(10);
/// How long everything else may take (T4): below the grace within which a client may ask for the same refresh again.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// How long a client may take to agree on how to encrypt.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new connection may take to bring its first request.
pub(crate) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a kept connection may take to bring its next one; above the 60 s for which reverse proxies keep theirs.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// The same while there is little room for connections.
pub(crate) const PRESSED_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one route being answered at the same time. Each route has its own, so that a spray of sign-ins, which wait, takes
/// nothing from those who refresh.
pub(crate) const MAX_CONCURRENT: usize = 1024;
/// Open connections, where the process may have so many files; further ones wait in the kernel's queue.
pub(crate) const MAX_CONNECTIONS: u32 = 8192;
/// Requests at the same time on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 256;
/// Requests that a client may have reset before anybody looked at them; past it the connection is closed.
pub(crate) const MAX_RESETS: usize = 64;
/// What one HTTP/2 connection may have on its way to us, over all of its streams.
pub(crate) const CONNECTION_WINDOW: u32 = 256 * 1024;
/// How long the name of a user may be out of date.
pub(crate) const NAME_TTL: Duration = Duration::from_secs(60);
/// Users whose names are remembered.
pub(crate) const MAX_NAMES: u64 = 50_000;
/// How long a gateway that hears nothing of token-service stays in service.
pub(crate) const UNREADY_AFTER: Duration = Duration::from_secs(10);
/// How long sign-out waits for this gateway's own verifier to hear of it.
pub(crate) const SIGN_OUT_WAIT: Duration = Duration::from_millis(500);

carelink_platform::settings! {
    /// Section `gateway`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct GatewayConfig {
        /// Host names that are served (ALLOWED_HOSTS): `name`, `.domain` or `*`. None: localhost, 127.0.0.1 and [::1].
        #[serde(deserialize_with = "list")]
        pub allowed_hosts: Vec<String>,
        /// Addresses and blocks whose `X-Forwarded-For` is believed.
        #[serde(deserialize_with = "list")]
        pub trusted_proxies: Vec<Cidr>,
        /// Where to listen; none: port 8000 of 127.0.0.1 and [::1].
        #[serde(default, deserialize_with = "list")]
        pub listen: Vec<SocketAddr>,
        /// The certificate shown to browsers and those between it and its authority, as PEM; none: no TLS.
        pub tls_certificate_file: Option<PathBuf>,
        /// Its private key, as PEM.
        pub tls_key_file: Option<PathBuf>,
        /// Where the predecessor's paths begin.
        pub account_prefix: String,
        /// Where djoser's paths begin (`jwt/create/`, `jwt/refresh/`, `jwt/verify/`, `users/me/`), such as /auth; none: nowhere.
        pub djoser_prefix: Option<String>,
        /// The field of a sign-in that holds the name, as the predecessor's user model called it.
        pub username_field: String,
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            listen: Vec::new(),
            tls_certificate_file: None,
            tls_key_file: None,
            account_prefix: "/account".into(),
            djoser_prefix: None,
            username_field: "username".into(),
        }
    }
}

/// Everything that is configured here.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    /// Section `gateway`.
    pub gateway: GatewayConfig,
    /// Section `limits`.
    pub limits: LimitsConfig,
}

impl Config {
    /// The sections `gateway` and `limits`.
    ///
    /// # Errors
    /// Where a key is unknown or a value does not fit.
    pub fn read(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self { gateway: settings.section("gateway")?, limits: settings.section("limits")? })
    }

    /// Whether the values make sense together, for these listeners.
    ///
    /// # Errors
    /// Names the setting and says what would be right.
    pub fn validate(&self, listeners: &[SocketAddr]) -> Result<(), ConfigError> {
        let GatewayConfig { allowed_hosts, trusted_proxies, account_prefix, djoser_prefix, username_field, .. } = &self.gateway;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
        let prefixes = [("gateway.account_prefix", Some(account_prefix)), ("gateway.djoser_prefix", djoser_prefix.as_ref())];
        for (key, prefix) in prefixes.into_iter().filter_map(|(key, prefix)| Some((key, prefix?))) {
            if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//") || !prefix.chars().all(plain) {
                return Err(ConfigError::invalid(key, "is a path such as /account: it begins with a slash and ends without one"));
            }
        }
        if username_field.is_empty()
            || username_field == "password"
            || !username_field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(ConfigError::invalid("gateway.username_field", "is a field name such as username or email"));
        }
        if let Some(pattern) = allowed_hosts.iter().find(|pattern| pattern.contains([':', '/', ' ']) && !pattern.starts_with('[')) {
            let message = format!("`{pattern}` is no host name; write it without scheme, port and path");
            return Err(ConfigError::invalid("gateway.allowed_hosts", message));
        }
        let encrypted = match (&self.gateway.tls_certificate_file, &self.gateway.tls_key_file) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            (Some(_), None) => return Err(ConfigError::invalid("gateway.tls_key_file", "is missing: a certificate needs its key")),
            (None, Some(_)) => return Err(ConfigError::invalid("gateway.tls_certificate_file", "is missing: a key needs its certificate")),
        };
        if !encrypted
            && trusted_proxies.is_empty()
            && let Some(address) = listeners.iter().find(|address| !address.ip().to_canonical().is_loopback())
        {
            let message = format!(
                "{address} can be reached from other machines and speaks no TLS: name the reverse proxy in front of it here, \
                 give it a certificate (gateway.tls_certificate_file), or listen on 127.0.0.1"
            );
            return Err(ConfigError::invalid("gateway.trusted_proxies", message));
        }
        self.limits.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config), listener: &str) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate(&[listener.parse().unwrap()]).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_defaults_are_sound_on_loopback_and_refused_off_it() {
        for listener in ["127.0.0.1:8000", "[::1]:8000", "[::ffff:127.0.0.1]:8000"] {
            assert_eq!(refused(|_| {}, listener), "");
        }
        for listener in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000"] {
            assert!(refused(|_| {}, listener).contains("gateway.trusted_proxies"));
            assert_eq!(refused(|config| config.gateway.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()], listener), "");
            let encrypted = |config: &mut Config| {
                config.gateway.tls_certificate_file = Some("a.pem".into());
                config.gateway.tls_key_file = Some("a.key".into());
            };
            assert_eq!(refused(encrypted, listener), "");
            assert!(refused(|config| config.gateway.tls_certificate_file = Some("a.pem".into()), listener).contains("tls_key_file"));
            assert!(refused(|config| config.gateway.tls_key_file = Some("a.key".into()), listener).contains("tls_certificate_file"));
        }
    }

    #[test]
    fn lists_are_written_as_lists_or_with_commas() {
        for proxies in [r#"["10.0.0.0/8", "::1"]"#, r#""10.0.0.0/8, ::1""#] {
            let json =
                format!(r#"{{"allowed_hosts": "a.b,*", "trusted_proxies": {proxies}, "account_prefix": "/a", "username_field": "u"}}"#);
            let config: GatewayConfig = serde_json::from_str(&json).unwrap();
            assert_eq!((config.allowed_hosts.len(), config.trusted_proxies.len()), (2, 2));
        }
        let error = Settings::load(None, [("CARELINK_GATEWAY__TRUSTED_PROXIES".into(), "10.0.0.0/99".into())])
            .unwrap()
            .section::<GatewayConfig>("gateway");
        assert!(error.unwrap_err().to_string().starts_with("setting `gateway.trusted_proxies`: `10.0.0.0/99` is not an address"));
    }

    #[test]
    fn addresses_to_listen_on_are_read_from_the_environment_too() {
        let read = |text: &str| {
            let given = [("CARELINK_GATEWAY__LISTEN".to_owned(), text.to_owned())];
            Settings::load(None, given).unwrap().section::<GatewayConfig>("gateway").map(|config| config.listen)
        };
        for (text, count) in [("127.0.0.1:80", 1), ("[::1]:8000", 1), ("0.0.0.0:8000, [::]:8000", 2), ("[::]:8000,0.0.0.0:80", 2), ("", 0)]
        {
            assert_eq!(read(text).unwrap().len(), count, "{text}");
        }
        assert!(read("localhost").unwrap_err().to_string().starts_with("setting `gateway.listen`"));
    }

    #[test]
    fn a_wrong_value_is_named() {
        for prefix in ["", "account", "/account/", "/a//b", "/a b", "/{a}"] {
            assert!(refused(|config| config.gateway.account_prefix = prefix.into(), "127.0.0.1:1").contains("account_prefix"), "{prefix}");
            let djoser = refused(|config| config.gateway.djoser_prefix = Some(prefix.into()), "127.0.0.1:1");
            assert!(djoser.contains("djoser_prefix"), "{prefix}");
        }
        for field in ["", "password", "e-mail"] {
            assert!(refused(|config| config.gateway.username_field = field.into(), "127.0.0.1:1").contains("username_field"), "{field}");
        }
        for host in ["https://ward.example", "ward.example:443", "ward.example/x"] {
            assert!(refused(|config| config.gateway.allowed_hosts = vec![host.into()], "127.0.0.1:1").contains("allowed_hosts"), "{host}");
        }
        assert_eq!(refused(|config| config.gateway.allowed_hosts = vec!["[::1]".into(), ".a.b".into(), "*".into()], "127.0.0.1:1"), "");
    }
}
