//! The last steps of a letter: into a file, or to a mail server.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use carelink_platform::{
    errors::{Failure, Reason},
    secrets::{ExposeSecret, read_secret_file},
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    address::Envelope,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
        extension::ClientId,
    },
};
use uuid::Uuid;

use super::config::{MailConfig, Server, ServerTls};

/// How long a mail server may take for one step.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a mail server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is theirs now.
    Taken,
    /// They never will.
    Refused(u16),
}

/// A mail server, and what it is spoken to by.
pub(super) struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

impl Smtp {
    /// Read anew each time: files change.
    pub(super) fn of(server: &Server, config: &MailConfig) -> Result<Self, Failure> {
        let failed = |message: String| Failure::new(Reason::Unready).caused_by(message);
        let encrypted = || -> Result<TlsParameters, Failure> {
            let authorities = fs::read(&config.ca_file).map_err(|error| failed(format!("mail.ca_file: {error}")))?;
            let authorities = Certificate::from_pem(&authorities).map_err(|_| failed("mail.ca_file holds no certificates".to_owned()))?;
            let parameters = TlsParameters::builder(server.host.clone()).certificate_store(CertificateStore::None);
            let parameters = parameters.add_root_certificate(authorities).build_rustls();
            parameters.map_err(|_| failed("mail.ca_file holds what is no authority".to_owned()))
        };
        let tls = match server.tls {
            ServerTls::Wrapped => Tls::Wrapper(encrypted()?),
            ServerTls::Required => Tls::Required(encrypted()?),
            ServerTls::None => Tls::None,
        };
        let mut smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain("carelink".to_owned()));
        if let Some(file) = &config.password_file {
            let password = read_secret_file(file).map_err(|error| failed(format!("mail.password_file: {error}")))?;
            smtp = smtp.credentials(Credentials::new(config.username.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self(smtp.build()))
    }

    /// Hands a letter over. What the server says is not repeated: it may say for whom.
    pub(super) async fn send(&self, envelope: &Envelope, text: &[u8]) -> Result<Sent, Failure> {
        match self.0.send_raw(envelope, text).await {
            Ok(_) => Ok(Sent::Taken),
            Err(error) if error.is_permanent() => Ok(Sent::Refused(error.status().map_or(0, u16::from))),
            Err(error) => {
                let what = match error.status() {
                    Some(code) => format!("the mail server answered {}", u16::from(code)),
                    None if error.is_timeout() => "the mail server takes too long".to_owned(),
                    None => "the mail server cannot be spoken to".to_owned(),
                };
                Err(Failure::new(Reason::Unready).message(what))
            }
        }
    }
}

/// Puts a letter into a file of its own, whole or not at all; written twice it is the same file.
pub(super) async fn write(directory: &Path, id: Uuid, text: Vec<u8>) -> Result<(), Failure> {
    let directory = directory.to_owned();
    let written = tokio::task::spawn_blocking(move || put(&directory, id, &text)).await;
    let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
    written.map_err(|error| Failure::new(Reason::Unready).message(format!("mail.directory: {error}")))
}

fn put(directory: &Path, id: Uuid, text: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let (part, whole): (PathBuf, PathBuf) = (directory.join(format!(".{id}.part")), directory.join(format!("{id}.eml")));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(part, whole)?;
    File::open(directory)?.sync_all()
}
