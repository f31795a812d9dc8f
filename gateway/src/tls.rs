//! TLS towards browsers and scripts: 1.2 and up, HTTP/2 or HTTP/1.1 as the client prefers, a certificate that is renewed under us.
//!
//! The files are watched; who is connected keeps the connection, who comes next sees the new certificate. Sessions are resumed by
//! tickets under keys that die with the process. Nothing is accepted before the handshake is through (no 0-RTT): it could be replayed.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use carelink_platform::{
    config::ConfigError,
    lifecycle::Shutdown,
    watched::{Source, Unusable, Watched},
};
use metrics::{Counter, counter, describe_counter};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ProducesTickets,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::config::{GatewayConfig, HANDSHAKE_TIMEOUT};

/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 0x16;
/// What a client that speaks no TLS gets to read.
const PLAIN: &str = "This port speaks TLS: write https:// instead of http://\n";
/// How long such a client may take to read it.
const LINGER: Duration = Duration::from_secs(1);

/// How connections are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Watched<ServerConfig>,
    failed: Counter,
}

impl Tls {
    /// Reads the certificate and its key, where they are configured.
    pub(crate) fn open(config: &GatewayConfig) -> Result<Option<Self>, ConfigError> {
        let (Some(certificate), Some(key)) = (&config.tls_certificate_file, &config.tls_key_file) else { return Ok(None) };
        let unusable = |error: Unusable| ConfigError::invalid("gateway.tls_certificate_file", error.to_string());
        let tickets = Ticketer::new().map_err(|error| unusable(error.into()))?;
        let sources = vec![Source::Public(certificate.clone()), Source::Private(key.clone())];
        let (certificate, key) = (certificate.clone(), key.clone());
        let make = move |contents: &[Vec<u8>]| server_config(contents, (&certificate, &key), Arc::clone(&tickets));
        let config = Watched::open("the gateway's certificate", sources, make).map_err(unusable)?;
        describe_counter!("carelink_tls_handshakes_failed_total", "Connections that came to nothing before the first request");
        Ok(Some(Self { config, failed: counter!("carelink_tls_handshakes_failed_total") }))
    }

    /// Takes up what the files come to hold, until the stop is requested.
    pub(crate) async fn watch(self, shutdown: Shutdown) {
        self.config.watch(shutdown).await;
    }

    /// The handshake. None: it came to nothing, which is the client's affair.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let accepted = timeout(HANDSHAKE_TIMEOUT, Box::pin(self.shake_hands(stream))).await;
        match accepted {
            Ok(Ok(stream)) => Some(stream),
            _ => {
                self.failed.increment(1);
                None
            }
        }
    }

    async fn shake_hands(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            let _ = timeout(LINGER, refuse_plain(&mut stream)).await;
            return Err(io::ErrorKind::InvalidData.into());
        }
        TlsAcceptor::from(self.config.current()).accept(stream).await
    }
}

/// A sentence instead of bytes that nobody can read. What was sent is read before the end: closing over it would tear up the answer.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    let length = PLAIN.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{PLAIN}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn server_config(
    contents: &[Vec<u8>],
    (certificate, key): (&PathBuf, &PathBuf),
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Unusable> {
    let [chain, private] = contents else { return Err("two files were to be read".into()) };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap_or_default();
    if chain.is_empty() {
        return Err(format!("{} holds no certificate in PEM", certificate.display()).into());
    }
    let private = PrivateKeyDer::from_pem_slice(private).map_err(|_| format!("{} holds no private key in PEM", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("{} and {} do not go together: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = tickets;
    Ok(config)
}
