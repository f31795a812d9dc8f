//! What a channel is made over: how names are looked up and how an address is reached. The real one, or one that a test plays.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;
use tower::BoxError;

use crate::grpc::{Credentials, server_name};

/// A connection, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Resolve = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;
type Dial = dyn Fn(&'static str, SocketAddr) -> BoxFuture<'static, Result<Box<dyn Stream>, BoxError>> + Send + Sync;

/// How a process reaches others. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    resolve: Arc<Resolve>,
    dial: Arc<Dial>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    /// The system's resolver, TCP, and mTLS with these credentials as they are at each connection.
    pub fn mtls(credentials: Credentials) -> Self {
        let dial = move |service, address| -> BoxFuture<'static, Result<Box<dyn Stream>, BoxError>> {
            let credentials = credentials.clone();
            Box::pin(async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let connector = TlsConnector::from(Arc::clone(&credentials.current().client));
                let tls = connector.connect(ServerName::try_from(server_name(service))?, tcp).await?;
                Ok(Box::new(tls) as Box<dyn Stream>)
            })
        };
        Self { resolve: Arc::new(|name| Box::pin(async move { lookup_host(name).await.map(Iterator::collect) })), dial: Arc::new(dial) }
    }

    /// A network whose names are looked up otherwise: `host:port` is given.
    #[must_use]
    pub fn resolving(self, resolve: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync + 'static) -> Self {
        Self { resolve: Arc::new(resolve), ..self }
    }

    /// A network that is wholly played.
    pub fn played(
        resolve: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
        dial: impl Fn(&'static str, SocketAddr) -> BoxFuture<'static, Result<Box<dyn Stream>, BoxError>> + Send + Sync + 'static,
    ) -> Self {
        Self { resolve: Arc::new(resolve), dial: Arc::new(dial) }
    }

    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        (self.resolve)(name.to_owned()).await
    }

    pub(super) async fn dial(&self, service: &'static str, address: SocketAddr) -> Result<Box<dyn Stream>, BoxError> {
        (self.dial)(service, address).await
    }
}
