//! Over TLS: what is spoken, what is not, and a certificate that changes under a running gateway.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::body::Body;
use carelink_platform::lifecycle::Shutdown;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Ward, access};
use crate::{Config, Gateway, config::GatewayConfig, tls::Tls};

/// A gateway behind TLS, and the authority that vouches for it.
struct Secured {
    address: SocketAddr,
    dir: TempDir,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

/// A new certificate for localhost that vouches for itself.
fn certify(dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = dir.join("a.key");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(dir.join("a.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

fn configured(dir: &Path) -> Config {
    let mut config = Config::default();
    config.gateway.tls_certificate_file = Some(dir.join("a.pem"));
    config.gateway.tls_key_file = Some(dir.join("a.key"));
    config
}

async fn run() -> Secured {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Ward { gateway, .. } = Ward::with(configured(dir.path()), vec![listener]);
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    Secured { address, dir, shutdown, serving }
}

fn connector(authority: &str, versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Secured {
    fn authority(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("a.pem")).unwrap()
    }

    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect(&self, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        connector.connect(ServerName::try_from("localhost").unwrap(), self.plain().await).await
    }

    async fn stop(self) {
        self.shutdown.request();
        self.serving.await.unwrap();
    }
}

fn asked() -> Request<Body> {
    let bearer = format!("Bearer {}", access(&json!({})));
    Request::builder().uri("https://localhost/account/me/").header("authorization", bearer).body(Body::empty()).unwrap()
}

async fn over_http2(stream: TlsStream<TcpStream>) -> Response<Incoming> {
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(asked()).await.unwrap()
}

/// One request on a connection that goes on.
async fn over_http1(stream: &mut TlsStream<TcpStream>) -> String {
    let token = access(&json!({}));
    let head = format!("GET /account/me/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut answer, mut some) = (String::new(), [0; 4096]);
    while !answer.ends_with('}') {
        let length = stream.read(&mut some).await.unwrap();
        assert!(length > 0, "hung up after {answer}");
        answer.push_str(std::str::from_utf8(&some[..length]).unwrap());
    }
    answer
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken_and_browsers_are_told_to_stay() {
    let running = run().await;
    for version in [&TLS12, &TLS13] {
        let both = connector(&running.authority(), &[version], &["h2", "http/1.1"]);
        let stream = running.connect(&both).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let answer = over_http2(stream).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["strict-transport-security"].to_str().unwrap()), (200, "max-age=31536000"));
        for protocols in [&["http/1.1"][..], &[]] {
            let mut stream = running.connect(&connector(&running.authority(), &[version], protocols)).await.unwrap();
            let answer = over_http1(&mut stream).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("strict-transport-security: max-age=31536000"),
                "{answer}"
            );
        }
    }
    running.stop().await;
    let plain = Ward::new().me(&access(&json!({}))).await;
    assert_eq!((plain.status, plain.header("strict-transport-security")), (200, ""));
}

#[tokio::test]
async fn who_speaks_plainly_gets_to_read_why_nothing_comes_of_it() {
    let running = run().await;
    for said in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hello\n"] {
        let mut stream = running.plain().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("write https:// instead of http://\n"), "{answer}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_go_on_is_hung_up_on() {
    let running = run().await;
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = running.plain().await;
        stream.write_all(said).await.unwrap();
        let began = Instant::now();
        let _ = stream.read(&mut [0; 16]).await;
        assert!(began.elapsed() <= Duration::from_secs(11), "{said:?}: {:?}", began.elapsed());
    }
    running.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_whoever_comes_next_and_nobody_is_cut_off() {
    let running = run().await;
    let old = running.authority();
    let mut connected = running.connect(&connector(&old, &[&TLS13], &[])).await.unwrap();
    over_http1(&mut connected).await;
    let new = certify(running.dir.path());
    let renewed = connector(&new, &[&TLS13], &[]);
    let began = Instant::now();
    let mut next = loop {
        match running.connect(&renewed).await {
            Ok(stream) => break stream,
            Err(_) => assert!(began.elapsed() < Duration::from_secs(60), "the new certificate is never shown"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    over_http1(&mut next).await;
    over_http1(&mut connected).await;
    assert!(running.connect(&connector(&old, &[&TLS13], &[])).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn at_the_end_encrypted_connections_are_closed_and_handshakes_given_up() {
    let running = run().await;
    let _undecided = running.plain().await;
    let mut idle = running.connect(&connector(&running.authority(), &[&TLS13], &[])).await.unwrap();
    over_http1(&mut idle).await;
    running.shutdown.request();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    running.serving.await.unwrap();
}

#[test]
fn files_that_cannot_be_used_are_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || Tls::open(&configured(dir.path()).gateway).unwrap_err().to_string();
    assert!(Tls::open(&GatewayConfig::default()).unwrap().is_none());
    assert!(refused().contains("a.pem: No such file"), "{}", refused());
    certify(dir.path());
    std::fs::write(dir.path().join("a.pem"), "nothing").unwrap();
    assert!(refused().contains("a.pem holds no certificate in PEM"), "{}", refused());
    let other = tempfile::tempdir().unwrap();
    certify(other.path());
    std::fs::copy(other.path().join("a.pem"), dir.path().join("a.pem")).unwrap();
    assert!(refused().contains("do not go together"), "{}", refused());
    std::fs::write(dir.path().join("a.key"), "nothing").unwrap();
    assert!(refused().contains("a.key holds no private key in PEM"), "{}", refused());
    let config = configured(dir.path());
    assert!(Gateway::build(super::options(config, Vec::new())).unwrap_err().to_string().starts_with("setting `gateway.tls_"));
}
