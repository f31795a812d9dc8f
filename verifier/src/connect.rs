//! A way to token-service for whoever embeds the verifier in a process of their own: mTLS by three files, over any number of replicas.
//!
//! Files and names are read anew for every connection: renewed certificates, a second root, another replica's address are
//! taken up by connecting again, which both sides do by themselves when a connection ends. Whoever wants them taken up at
//! once makes a new channel.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Endpoint, Uri};
use tower::{BoxError, Service, service_fn};

use crate::channel::{Channel, channel};

/// How long one address may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A connection that does not answer a ping in time is given up: about as soon as a verifier notices silence.
const PING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));

/// Who connects, and whom it believes: PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The deployment's certificate authority; several at once while it is being replaced.
    pub ca: PathBuf,
    /// The certificate of `NAME.carelink.internal`, leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A channel to `service` (`token-service`), at any of `addresses` (`host:port`, comma-separated; a name may stand for many).
/// It connects when it is used, to one of them, and to the next where one fails. Whoever answers must have the certificate of
/// `SERVICE.carelink.internal`, whatever the address says.
pub fn connect(service: &str, addresses: &str, identity: Identity) -> Channel {
    let addresses: Arc<[String]> = addresses.split(',').map(|address| address.trim().to_owned()).collect();
    let (name, turn, failing) = (host(service), Arc::new(AtomicUsize::new(chance())), Arc::new(Mutex::new(String::new())));
    let dial = service_fn(move |_: Uri| {
        let (name, addresses, identity) = (name.clone(), Arc::clone(&addresses), identity.clone());
        let (turn, failing) = (Arc::clone(&turn), Arc::clone(&failing));
        async move {
            let dialled = dial(&name, &addresses, &identity, turn.fetch_add(1, Ordering::Relaxed)).await;
            // The same failure again and again is told once.
            let why = dialled.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if std::mem::replace(&mut *failing.lock().unwrap_or_else(PoisonError::into_inner), why.clone()) != why && !why.is_empty() {
                tracing::warn!(error = why, service = name, "cannot connect; trying again whenever it is asked for");
            }
            dialled.map(TokioIo::new)
        }
    });
    connect_over(service, dial)
}

/// The same over connections of your own making: a Unix socket, a mesh that brings its own certificates, a simulated network.
pub fn connect_over<C>(service: &str, connector: C) -> Channel
where
    C: Service<Uri> + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
    C::Future: Send,
    BoxError: From<C::Error> + Send,
{
    // `https` would have tonic bring its own TLS; whoever looks at the request sees the origin.
    let endpoint = Endpoint::from_static("http://carelink.internal")
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    let endpoint = match format!("https://{}", host(service)).parse() {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint, // a name that is none finds no certificate either
    };
    channel(endpoint.connect_with_connector_lazy(connector))
}

fn host(service: &str) -> String {
    format!("{service}.carelink.internal")
}

/// Tries one address after the other, beginning with another one each time.
async fn dial(name: &str, addresses: &[String], identity: &Identity, turn: usize) -> io::Result<TlsStream<TcpStream>> {
    let tls = TlsConnector::from(Arc::new(identity.read().await?));
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        match lookup_host(address).await {
            Ok(resolved) => found.extend(resolved),
            Err(error) => last = error,
        }
    }
    if let Some(first) = turn.checked_rem(found.len()) {
        found.rotate_left(first);
    }
    for address in found {
        let one = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tls.connect(name.clone(), stream).await
        };
        match timeout(CONNECT_WITHIN, one).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl Identity {
    /// The three files of a directory as `carelink pki issue NAME --dir DIR` writes them.
    pub fn in_directory(directory: impl AsRef<Path>, name: &str) -> Self {
        let file = |name: String| directory.as_ref().join(name);
        Self { ca: file("ca.pem".into()), certificate: file(format!("{name}.pem")), key: file(format!("{name}.key")) }
    }

    async fn read(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca).await? {
            roots.add(root).map_err(io::Error::other)?;
        }
        let chain = certificates(&self.certificate).await?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key).await?).map_err(|error| bad(&self.key, &error))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

async fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = read(path).await?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| bad(path, &error))
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    tokio::fs::read(path).await.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}

/// Where to begin, so that a fleet of verifiers does not choose the same replica.
fn chance() -> usize {
    let mut byte = [0];
    let _ = ::aws_lc_rs::rand::fill(&mut byte); // then all begin with the first
    byte.into_iter().map(usize::from).sum()
}
