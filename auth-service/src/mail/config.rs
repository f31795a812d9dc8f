//! The section `mail`.

use std::{net::IpAddr, path::PathBuf};

use carelink_platform::config::ConfigError;
use lettre::Address;
use serde::{Deserialize, Serialize};

/// Where Debian, and images made of it, keep the authorities that everybody trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

carelink_platform::settings! {
    /// How letters with one-time links leave: not at all unless `directory` or `smtp` is set.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct MailConfig {
        /// A directory that gets each letter as a file of its own, for a mail system to collect.
        pub directory: Option<PathBuf>,
        /// The mail server, as `smtps://HOST[:465]` or `smtp://HOST[:587]`, which must offer STARTTLS unless it is on this machine.
        pub smtp: Option<String>,
        /// The name to sign in at the mail server with; empty where it asks for none.
        pub username: String,
        /// The file that holds the password for it.
        pub password_file: Option<PathBuf>,
        /// The file of the authorities that may have issued the mail server's certificate.
        pub ca_file: PathBuf,
        /// The sender's address.
        pub from: String,
        /// The page that links lead to; it gets what makes the link good once after a `#`, where no server and no log sees it.
        pub link_base: String,
    }
}

/// How letters leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Directory(PathBuf),
    Smtp(Server),
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: ServerTls,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerTls {
    /// Encrypted from the first byte.
    Wrapped,
    /// STARTTLS, or nothing is sent.
    Required,
    /// In the clear, on this machine.
    None,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            directory: None,
            smtp: None,
            username: String::new(),
            password_file: None,
            ca_file: PathBuf::from(SYSTEM_AUTHORITIES),
            from: String::new(),
            link_base: String::new(),
        }
    }
}

impl MailConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub fn validate(self) -> Result<Self, ConfigError> {
        self.way()?;
        Ok(self)
    }

    /// How letters leave, if they do.
    pub(super) fn way(&self) -> Result<Option<Way>, ConfigError> {
        let refuse = |key: &str, message: &str| Err(ConfigError::invalid(format!("mail.{key}"), message));
        let way = match (&self.directory, &self.smtp) {
            (Some(_), Some(_)) => return refuse("smtp", "give this or mail.directory, not both"),
            (None, None) => return Ok(None),
            (Some(directory), None) => Way::Directory(directory.clone()),
            (None, Some(url)) => match Server::read(url) {
                Some(server) => Way::Smtp(server),
                None => return refuse("smtp", "smtps://HOST[:PORT] or smtp://HOST[:PORT]; name and password have settings of their own"),
            },
        };
        if self.from.parse::<Address>().is_err() {
            return refuse("from", "an address letters come from, such as no-reply@clinic.example");
        }
        if !secure(&self.link_base) {
            return refuse("link_base", "the page that links lead to, such as https://clinic.example/password; without `#`");
        }
        if self.username.is_empty() != self.password_file.is_none() {
            return refuse("password_file", "goes with mail.username, and mail.username with it");
        }
        Ok(Some(way))
    }
}

impl Server {
    fn read(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['@', '/', '?', '#', ' ']) {
            return None;
        }
        let (tls, usual) = match scheme {
            "smtps" => (ServerTls::Wrapped, 465),
            "smtp" if is_here(host) => (ServerTls::None, 25),
            "smtp" => (ServerTls::Required, 587),
            _ => return None,
        };
        Some(Self { host: host.to_owned(), port: port.unwrap_or(usual), tls })
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a link may lead there: encrypted, or to this machine.
fn secure(base: &str) -> bool {
    let plain = base.chars().all(|character| character.is_ascii_graphic() && !matches!(character, '#' | '"' | '<' | '>'));
    let host = |rest: &str| rest.split(['/', ':', '?']).next().unwrap_or_default().to_owned();
    plain
        && match base.split_once("://") {
            Some(("https", rest)) => !host(rest).is_empty(),
            Some(("http", rest)) => is_here(&host(rest)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_smtp(url: &str) -> Option<Server> {
        Server::read(url)
    }

    #[test]
    fn a_mail_server_is_spoken_to_in_the_clear_on_this_machine_only() {
        let server = |host: &str, port, tls| Some(Server { host: host.into(), port, tls });
        assert_eq!(by_smtp("smtps://mail.example"), server("mail.example", 465, ServerTls::Wrapped));
        assert_eq!(by_smtp("smtp://mail.example:2525/"), server("mail.example", 2525, ServerTls::Required));
        assert_eq!(by_smtp("smtp://127.0.0.1:1025"), server("127.0.0.1", 1025, ServerTls::None));
        assert_eq!(by_smtp("smtp://[::1]"), server("::1", 25, ServerTls::None));
        for url in ["mail.example", "http://mail.example", "smtp://", "smtp://me:secret@mail.example", "smtp://mail.example:x"] {
            assert_eq!(by_smtp(url), None, "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        let works = MailConfig {
            directory: Some("letters".into()),
            from: "no-reply@clinic.example".into(),
            link_base: "https://clinic.example/password?from=mail".into(),
            ..MailConfig::default()
        };
        assert!(works.clone().validate().is_ok() && MailConfig::default().validate().is_ok());
        assert!(MailConfig { link_base: "http://localhost:8000/p".into(), ..works.clone() }.validate().is_ok());
        for (config, key) in [
            (MailConfig { smtp: Some("smtp://localhost".into()), ..works.clone() }, "mail.smtp"),
            (MailConfig { directory: None, smtp: Some("localhost".into()), ..works.clone() }, "mail.smtp"),
            (MailConfig { from: "me".into(), ..works.clone() }, "mail.from"),
            (MailConfig { link_base: "http://clinic.example/".into(), ..works.clone() }, "mail.link_base"),
            (MailConfig { link_base: "https://clinic.example/#x".into(), ..works.clone() }, "mail.link_base"),
            (MailConfig { username: "me".into(), ..works }, "mail.password_file"),
        ] {
            assert!(config.validate().unwrap_err().to_string().contains(key), "{key}");
        }
    }
}
