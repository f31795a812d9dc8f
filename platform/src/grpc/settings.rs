//! The section `grpc`: where a service is served, by which files it proves itself, and where the others are.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, duration, list};

crate::settings! {
    /// The section `grpc`.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct GrpcConfig {
        /// Where services and operators reach this one; none: its usual port on 127.0.0.1.
        pub listen: Option<SocketAddr>,
        /// This process's certificate and those between it and the authority, as PEM.
        pub certificate_file: Option<PathBuf>,
        /// Its private key, as PEM.
        pub key_file: Option<PathBuf>,
        /// The deployment's certificate authorities, as PEM; two at once while one takes over from another.
        pub ca_file: Option<PathBuf>,
        /// Where auth-service is: `host:port`, several with commas between. All addresses of a name are used, and looked up again and again.
        #[serde(deserialize_with = "list")]
        pub auth: Vec<String>,
        /// Where token-service is.
        #[serde(deserialize_with = "list")]
        pub token: Vec<String>,
        /// Where audit-service is.
        #[serde(deserialize_with = "list")]
        pub audit: Vec<String>,
        /// Where gateways answer operators (their `ops.operators_listen`), for the command line.
        #[serde(deserialize_with = "list")]
        pub gateway: Vec<String>,
        /// About how long a connection is used before another takes its place, so that new certificates and new replicas come into use.
        #[serde(with = "duration")]
        pub max_connection_age: Duration,
    }
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            listen: None,
            certificate_file: None,
            key_file: None,
            ca_file: None,
            auth: Vec::new(),
            token: Vec::new(),
            audit: Vec::new(),
            gateway: Vec::new(),
            max_connection_age: Duration::from_secs(10 * 60),
        }
    }
}

/// The files by which a process proves itself and believes others.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl GrpcConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Where a value cannot be meant.
    pub fn validate(self) -> Result<Self, ConfigError> {
        self.files()?;
        for (key, addresses) in [("auth", &self.auth), ("token", &self.token), ("audit", &self.audit), ("gateway", &self.gateway)] {
            for address in addresses {
                let split = address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
                if split.is_none() {
                    let message = format!("`{address}` is no address; write host:port, several with commas between");
                    return Err(ConfigError::invalid(format!("grpc.{key}"), message));
                }
            }
        }
        if self.max_connection_age < Duration::from_secs(1) {
            return Err(ConfigError::invalid("grpc.max_connection_age", "at least 1s"));
        }
        Ok(self)
    }

    /// Whether this process talks to others over a network.
    pub fn is_networked(&self) -> bool {
        self.certificate_file.is_some()
    }

    /// All three files, or none.
    pub(crate) fn files(&self) -> Result<Option<Files>, ConfigError> {
        match (&self.certificate_file, &self.key_file, &self.ca_file) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(ca)) => {
                Ok(Some(Files { certificate: certificate.clone(), key: key.clone(), ca: ca.clone() }))
            }
            (certificate, key, _) => {
                let missing = if certificate.is_none() {
                    "certificate_file"
                } else if key.is_none() {
                    "key_file"
                } else {
                    "ca_file"
                };
                let message = "is missing: certificate_file, key_file and ca_file go together";
                Err(ConfigError::invalid(format!("grpc.{missing}"), message))
            }
        }
    }

    /// Where a service is.
    pub(crate) fn addresses(&self, service: &str) -> &[String] {
        match service {
            "auth-service" => &self.auth,
            "token-service" => &self.token,
            "audit-service" => &self.audit,
            "gateway" => &self.gateway,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(pairs: &[(&str, &str)]) -> Result<GrpcConfig, ConfigError> {
        let given = pairs.iter().map(|(key, value)| (format!("CARELINK_GRPC__{key}"), (*value).to_owned()));
        Settings::load(None, given)?.section::<GrpcConfig>("grpc")?.validate()
    }

    #[test]
    fn addresses_are_written_with_commas_and_wrong_ones_are_named() {
        let told = config(&[("TOKEN", "localhost:8102, [::1]:8102"), ("LISTEN", "127.0.0.1:8101")]).unwrap();
        assert_eq!(told.token, ["localhost:8102", "[::1]:8102"]);
        assert!(!told.is_networked());
        for wrong in ["localhost", ":8102", "https://token:x"] {
            assert!(config(&[("TOKEN", wrong)]).unwrap_err().to_string().starts_with("setting `grpc.token`"), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let error = config(&[("CERTIFICATE_FILE", "/c.pem"), ("CA_FILE", "/ca.pem")]).unwrap_err().to_string();
        assert!(error.starts_with("setting `grpc.key_file`: is missing"), "{error}");
    }
}
