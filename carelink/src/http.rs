//! A small HTTP client for whatever a command asks of a deployment by its URL: one kept connection, JSON in and out, no redirects.
//!
//! TLS believes the machine's authorities, or those of a file and no others.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use carelink_platform::secrets::{ExposeSecret, SecretString};
use http::{HeaderMap, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::error::{failed, usage};

/// How long connecting and one answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// No honest answer is longer.
const LONGEST: usize = 16 << 20;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    encrypted: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    path: String,
}

impl Base {
    /// Reads `http://host:port/path`; the path may be left out.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let wrong = || usage(format!("`{url}` is no address; write http://127.0.0.1:8000 or https://signin.example"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let path = uri.path_and_query().map_or("", |path| path.as_str()).trim_end_matches('/').to_owned();
        Ok(Self { encrypted, host: authority.host().trim_matches(['[', ']']).to_owned(), port, path })
    }

    /// As it is shown and as `Host` says it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.encrypted { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header's value, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client with a connection of its own.
pub(crate) struct Http {
    base: Base,
    agent: &'static str,
    tls: Option<TlsConnector>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// For this address; nothing is connected yet. `agent` is what it calls itself.
    pub(crate) fn new(base: Base, agent: &'static str, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let tls = if base.encrypted { Some(connector(authorities)?) } else { None };
        Ok(Self { base, agent, tls, connection: None })
    }

    /// Another one to the same address, on another connection.
    pub(crate) fn another(&self) -> Self {
        Self { base: self.base.clone(), agent: self.agent, tls: self.tls.clone(), connection: None }
    }

    /// Connects where it is not connected.
    pub(crate) async fn connect(&mut self) -> anyhow::Result<&mut SendRequest<Full<Bytes>>> {
        let mut kept = self.connection.take();
        if let Some(connection) = &mut kept
            && (connection.is_closed() || connection.ready().await.is_err())
        {
            kept = None;
        }
        let connection = match kept {
            Some(kept) => kept,
            None => timeout(PATIENCE, self.open()).await.map_err(|_| self.silent())??,
        };
        Ok(self.connection.insert(connection))
    }

    async fn open(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let at = self.base.authority();
        let unreachable = |error: &dyn std::fmt::Display| failed("not_reached", format!("{at} cannot be reached: {error}"));
        let stream = TcpStream::connect((self.base.host.as_str(), self.base.port)).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        if let Some(tls) = &self.tls {
            let name = ServerName::try_from(self.base.host.clone()).map_err(|error| unreachable(&error))?;
            let stream = tls.connect(name, stream).await.map_err(|error| unreachable(&error))?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn silent(&self) -> anyhow::Error {
        failed("not_reached", format!("{} gave no answer within {} s", self.base.authority(), PATIENCE.as_secs()))
    }

    /// Asks for a page.
    pub(crate) async fn get(&mut self, path: &str, bearer: Option<&SecretString>) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, bearer, None).await
    }

    /// Posts JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(Method::POST, path, None, Some(body)).await
    }

    async fn ask(&mut self, method: Method, path: &str, bearer: Option<&SecretString>, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base.path))
            .header(header::HOST, self.base.authority())
            .header(header::USER_AGENT, self.agent)
            .header(header::ACCEPT, "*/*");
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", bearer.expose_secret()));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|error| usage(format!("no such request can be made: {error}")))?;
        let at = self.base.authority();
        let broken = |error: &dyn std::fmt::Display| failed("connection_lost", format!("the connection to {at} broke: {error}"));
        let silent = self.silent();
        let connection = self.connect().await?;
        let answered = async {
            let (head, body) = connection.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| broken(&error))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        timeout(PATIENCE, answered).await.unwrap_or(Err(silent))
    }
}

fn connector(authorities: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unusable = |why: String| failed("ca_file", format!("{}: {why}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
                roots.add(certificate.map_err(|error| unusable(error.to_string()))?).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("there is no certificate in it".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("tls", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_write_it() {
        let read = |url: &str| Base::parse(url).map(|base| (base.authority(), base.host, base.port, base.path));
        assert_eq!(read("http://127.0.0.1:8000/").unwrap(), ("127.0.0.1:8000".into(), "127.0.0.1".into(), 8000, String::new()));
        assert_eq!(read("https://signin.example").unwrap(), ("signin.example".into(), "signin.example".into(), 443, String::new()));
        assert_eq!(read("http://[::1]:9000/x/").unwrap(), ("[::1]:9000".into(), "::1".into(), 9000, "/x".into()));
        for wrong in ["127.0.0.1:8000", "ftp://a", "http://", "", "http://user:secret@host", "http://a b"] {
            assert!(Base::parse(wrong).is_err(), "{wrong}");
        }
    }
}
