//! The ways to a running CareLink: gRPC over the data directory's socket, or with an operator's certificate to each service of a
//! fleet (G3).
//!
//! The socket's file mode lets nobody else in, and the kernel tells the services who we are; in a fleet the certificate does. What
//! `sudo` says besides travels as a claim. This file owns what is said when nobody answers.

use std::{error::Error, fs, io, os::unix::fs::MetadataExt, path::Path};

use carelink_platform::{
    clock::Clock,
    config::{ConfigError, SECTIONS},
    grpc::{Channel, Credentials, GrpcConfig, Network, Peers, connect_unix},
    random::Random,
};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_client::AuthServiceClient,
    ops::ops_service_client::OpsServiceClient, token::token_service_client::TokenServiceClient,
};
use tonic::{
    body::Body,
    codegen::http::{HeaderName, HeaderValue, Request},
};
use tower::ServiceExt;

use crate::{cli::Context, error::failed, output::shell_word, pki};

/// The socket in a data directory.
pub(crate) const SOCKET: &str = "control.sock";

const CLAIMED_BY: HeaderName = HeaderName::from_static("x-carelink-claimed-by");
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
    let channel = patient(channel, None);
    Ok(Clients {
        auth: AuthServiceClient::new(channel.clone()),
        token: TokenServiceClient::new(channel.clone()),
        audit: AuditServiceClient::new(channel),
    })
}

/// What says that there is a fleet, and how to reach it: the section `grpc` of the file named, or of the environment.
pub(crate) fn fleet(context: &Context) -> anyhow::Result<Option<GrpcConfig>> {
    if !context.configures("grpc") {
        return Ok(None);
    }
    let mut settings = context.settings()?;
    let grpc = settings.section::<GrpcConfig>("grpc")?.validate()?;
    settings.ignore(SECTIONS);
    settings.finish()?;
    let somewhere = [&grpc.auth, &grpc.token, &grpc.audit].iter().any(|addresses| !addresses.is_empty());
    Ok(somewhere.then_some(grpc))
}

/// Every process that answers for itself: the one that has the data directory, or each of a fleet, by service and address.
pub(crate) async fn processes(context: &Context) -> anyhow::Result<Vec<(String, OpsServiceClient<Channel>)>> {
    let claimed = context.claimed();
    let Some(grpc) = fleet(context)? else {
        let socket = context.data().join(SOCKET);
        let channel = connect_unix(&socket, claimed).await.map_err(|error| explain(context.data(), &socket, error.as_ref()))?;
        return Ok(vec![("carelink".to_owned(), OpsServiceClient::new(patient(channel, None)))]);
    };
    let peers = fleet_peers(grpc, &Clock::system(), &context.random)?;
    let claimed = claimed.and_then(|name| HeaderValue::from_str(&name).ok());
    let mut found = Vec::new();
    for service in ["gateway", "auth-service", "token-service", "audit-service"] {
        let each = peers.each(service).await.map_err(|error| failed("not_reached", format!("{service}: {error}")))?;
        found.extend(
            each.into_iter()
                .map(|(address, channel)| (format!("{service} {address}"), OpsServiceClient::new(patient(channel, claimed.clone())))),
        );
    }
    Ok(found)
}

/// Connects to the services of a fleet, each at its own addresses, as the operator whose certificate is configured.
pub(crate) fn connect_fleet(grpc: GrpcConfig, claimed: Option<String>, clock: &Clock, random: &Random) -> anyhow::Result<Clients> {
    let peers = fleet_peers(grpc, clock, random)?;
    let claimed = claimed.and_then(|name| HeaderValue::from_str(&name).ok());
    let channel = |to| Ok::<_, ConfigError>(patient(peers.channel(to)?, claimed.clone()));
    Ok(Clients {
        auth: AuthServiceClient::new(channel("auth-service")?),
        token: TokenServiceClient::new(channel("token-service")?),
        audit: AuditServiceClient::new(channel("audit-service")?),
    })
}

/// The ways to all services of a fleet.
fn fleet_peers(grpc: GrpcConfig, clock: &Clock, random: &Random) -> anyhow::Result<Peers> {
    let Some(credentials) = Credentials::open(&grpc, clock)? else {
        let message = "is missing: with certificate_file, key_file and ca_file of an operator this reaches the fleet; \
                       make them with `carelink pki issue NAME --operator`";
        return Err(ConfigError::invalid("grpc.certificate_file", message).into());
    };
    if let Some(file) = &grpc.certificate_file {
        pki::is_operators(file, clock.now())?;
    }
    Ok(Peers::new(grpc, Network::mtls(credentials), random.clone()))
}

/// Calls that say how long they may take, and who is claimed to be behind them.
fn patient(channel: Channel, claimed: Option<HeaderValue>) -> Channel {
    Channel::new(channel.map_request(move |mut request: Request<Body>| {
        request.headers_mut().entry(GRPC_TIMEOUT).or_insert(PATIENCE);
        if let Some(claimed) = &claimed {
            request.headers_mut().insert(CLAIMED_BY, claimed.clone());
        }
        request
    }))
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
    use crate::{error::Exit, tests};

    #[test]
    fn a_socket_of_somebody_else_names_them_and_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let sentence = explain(dir.path(), &dir.path().join(SOCKET), &denied).to_string();
        let uid = fs::metadata(dir.path()).unwrap().uid();
        assert!(sentence.contains(&format!("whoever runs `carelink up` (uid {uid}); run this as the same user")), "{sentence}");
    }

    #[tokio::test]
    async fn g3_a_fleet_is_reached_with_an_operators_certificate_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        let at = pki.to_str().unwrap();
        for words in [&["init"][..], &["issue", "gateway"], &["issue", "alice", "--operator"]] {
            tests::run(dir.path(), &[&["pki"], words, &["--dir", at]].concat()).await.result.unwrap();
        }
        let config = dir.path().join("fleet.toml");
        let list = async |holder: Option<&str>, services: &[&str]| {
            let addresses: String = services.iter().map(|service| format!("{service} = \"127.0.0.1:9\"\n")).collect();
            let files = holder
                .map(|name| format!("certificate_file = \"{at}/{name}.pem\"\nkey_file = \"{at}/{name}.key\"\nca_file = \"{at}/ca.pem\"\n"));
            fs::write(&config, format!("[grpc]\n{addresses}{}", files.unwrap_or_default())).unwrap();
            tests::run(dir.path(), &["user", "list", "--config", config.to_str().unwrap()]).await.result.unwrap_err()
        };
        let all = ["auth", "token", "audit"];
        let bare = list(None, &all).await;
        assert_eq!(bare.exit, Exit::Configuration);
        assert!(bare.message.contains("carelink pki issue NAME --operator"), "{}", bare.message);
        let service = list(Some("gateway"), &all).await;
        assert!(service.message.contains("is of gateway.carelink.internal, which is no operator"), "{}", service.message);
        let half = list(Some("alice"), &["auth"]).await;
        assert!(half.message.contains("grpc.token"), "{}", half.message);
        let nobody = list(None, &[]).await;
        assert_eq!(nobody.code, "not_running", "without addresses there is the data directory");
        let ended =
            pki::is_operators(&pki.join("alice.pem"), Clock::system().now() + std::time::Duration::from_secs(91 * 86_400)).unwrap_err();
        assert!(ended.to_string().contains("carelink pki renew alice --dir PKI"), "{ended}");
    }
}
