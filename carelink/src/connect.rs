//! The one way to a running CareLink: gRPC over the data directory's socket (G3).
//!
//! The socket's file mode lets nobody else in, and the kernel tells the services who we are; what `sudo` says besides
//! travels as a claim. This file owns what is said when nobody answers.

use std::{error::Error, fs, io, os::unix::fs::MetadataExt, path::Path};

use carelink_platform::grpc::{Channel, connect_unix};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_client::AuthServiceClient,
    token::token_service_client::TokenServiceClient,
};
use tonic::{
    body::Body,
    codegen::http::{HeaderName, HeaderValue, Request},
};
use tower::ServiceExt;

use crate::{error::failed, output::shell_word};

/// The socket in a data directory.
pub(crate) const SOCKET: &str = "control.sock";

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// How long a call may take; a batch of an import is the longest.
const PATIENCE: HeaderValue = HeaderValue::from_static("60S");

/// One client per service.
#[derive(Clone)]
pub(crate) struct Clients {
    /// Users and passwords.
    pub(crate) auth: AuthServiceClient<Channel>,
    /// Sessions.
    pub(crate) token: TokenServiceClient<Channel>,
    /// The trail.
    pub(crate) audit: AuditServiceClient<Channel>,
}

/// Connects to whatever runs on a data directory. `claimed` is who `sudo` says is behind it; never proven.
pub(crate) async fn connect(data: &Path, claimed: Option<String>) -> anyhow::Result<Clients> {
    let socket = data.join(SOCKET);
    let channel = connect_unix(&socket, claimed).await.map_err(|error| explain(data, &socket, error.as_ref()))?;
    let channel = Channel::new(channel.map_request(|mut request: Request<Body>| {
        request.headers_mut().entry(GRPC_TIMEOUT).or_insert(PATIENCE);
        request
    }));
    Ok(Clients {
        auth: AuthServiceClient::new(channel.clone()),
        token: TokenServiceClient::new(channel.clone()),
        audit: AuditServiceClient::new(channel),
    })
}

/// What was wrong with the socket, and what to do.
fn explain(data: &Path, socket: &Path, error: &(dyn Error + 'static)) -> anyhow::Error {
    let start = format!("start it with: carelink up --data {}", shell_word(&data.to_string_lossy()));
    let owner = fs::metadata(data).map(|meta| format!(" (uid {})", meta.uid())).unwrap_or_default();
    let (data, socket) = (data.display(), socket.display());
    match io_kind(error) {
        Some(io::ErrorKind::NotFound) => failed("not_running", format!("nothing is running on {data}; {start}")),
        Some(io::ErrorKind::ConnectionRefused) => {
            failed("not_running", format!("nothing is running on {data} any more, it only left its socket behind; {start}"))
        }
        Some(io::ErrorKind::NotADirectory) => {
            failed("not_running", format!("{data} is not a directory; name a data directory with --data"))
        }
        Some(io::ErrorKind::InvalidInput) => {
            failed("not_running", format!("{socket} is too long for a socket's path; use a shorter --data, a relative one perhaps"))
        }
        Some(io::ErrorKind::PermissionDenied) => failed(
            "not_permitted",
            format!("{socket} is open only to whoever runs `carelink up`{owner}; run this as the same user, for example with sudo -u"),
        ),
        _ => failed("not_reached", format!("{socket} does not answer ({error}); see whether `carelink up` is well")),
    }
}

/// What the system said, somewhere down the causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_somebody_else_names_them_and_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let sentence = explain(dir.path(), &dir.path().join(SOCKET), &denied).to_string();
        let uid = fs::metadata(dir.path()).unwrap().uid();
        assert!(sentence.contains(&format!("whoever runs `carelink up` (uid {uid}); run this as the same user")), "{sentence}");
    }
}
