//! Mail servers that speak TLS, and those that are none of ours.

use std::io::Write as _;

use lettre::{Address, address::Envelope};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, split},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{
    config::{MailConfig, Server, ServerTls},
    send::{Sent, Smtp},
};

/// An authority, as `mail.ca_file` names one.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
        TlsAcceptor::from(std::sync::Arc::new(config))
    }
}

/// Speaks SMTP until the client has handed a letter over, or asks for TLS. Says which.
async fn talk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), greets: bool, offers: &str) -> bool {
    let (read, mut write) = split(stream);
    let (mut lines, mut in_letter) = (BufReader::new(read).lines(), false);
    if greets {
        write.write_all(b"220 here\r\n").await.unwrap();
    }
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match line.as_str() {
            "." => return write.write_all(b"250 taken\r\n").await.is_ok(),
            _ if in_letter => continue,
            "DATA" => {
                in_letter = true;
                "354 go on\r\n"
            }
            "STARTTLS" => {
                write.write_all(b"220 go on\r\n").await.unwrap();
                return false;
            }
            line if line.starts_with("EHLO") => offers,
            _ => "250 yes\r\n",
        };
        if write.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
    }
    false
}

/// A mail server that proves itself as `name`; with STARTTLS, or encrypted from the first byte.
async fn mail_server(authority: &Authority, name: &str, tls: ServerTls) -> u16 {
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), authority.acceptor(name));
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if tls == ServerTls::Required {
                talk(&mut stream, true, "250-here\r\n250 STARTTLS\r\n").await;
            }
            if let Ok(mut stream) = acceptor.accept(stream).await {
                talk(&mut stream, tls == ServerTls::Wrapped, "250 here\r\n").await;
            }
        }
    });
    port
}

async fn send(port: u16, tls: ServerTls, authority: &Authority) -> Option<Sent> {
    let server = Server { host: "localhost".to_owned(), port, tls };
    let config = MailConfig { ca_file: authority.file.path().to_owned(), ..MailConfig::default() };
    let address: Address = "amina@clinic.example".parse().unwrap();
    let envelope = Envelope::new(Some(address.clone()), vec![address]).unwrap();
    Smtp::of(&server, &config).unwrap().send(&envelope, b"Subject: x\r\n\r\nx\r\n").await.ok()
}

#[tokio::test]
async fn a_letter_goes_encrypted_to_a_server_that_proves_who_it_is() {
    let (ours, others) = (Authority::new(), Authority::new());
    for tls in [ServerTls::Wrapped, ServerTls::Required] {
        let port = mail_server(&ours, "localhost", tls).await;
        assert_eq!(send(port, tls, &ours).await, Some(Sent::Taken), "{tls:?}");
        assert_eq!(send(port, tls, &others).await, None, "{tls:?}: issued by nobody we know");
        let port = mail_server(&ours, "elsewhere.example", tls).await;
        assert_eq!(send(port, tls, &ours).await, None, "{tls:?}: another name");
    }
}

#[tokio::test]
async fn a_letter_does_not_go_where_no_tls_is_offered() {
    let ours = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        talk(&mut stream, true, "250 here\r\n").await
    });
    assert_eq!(send(port, ServerTls::Required, &ours).await, None);
    assert!(!server.await.unwrap(), "nothing was handed over");
}
