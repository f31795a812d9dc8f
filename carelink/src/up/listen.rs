//! Where `up` listens: 127.0.0.1 and [::1], because `localhost` may be either; or where `--listen` says.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use gateway::GatewayConfig;
use tokio::net::TcpListener;

use crate::error::failed;

/// What was bound.
#[derive(Debug)]
pub(super) struct Addresses {
    /// `https` where the gateway has a certificate.
    pub(super) scheme: &'static str,
    pub(super) http: Vec<SocketAddr>,
    pub(super) ops: SocketAddr,
}

impl Addresses {
    pub(super) fn of(config: &GatewayConfig, http: &[TcpListener], ops: &TcpListener) -> io::Result<Self> {
        let scheme = if config.tls_certificate_file.is_some() { "https" } else { "http" };
        Ok(Self { scheme, http: http.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?, ops: ops.local_addr()? })
    }

    /// What to type into a browser.
    pub(super) fn url(&self) -> String {
        self.http.first().map_or_else(String::new, |address| format!("{}://{address}", self.scheme))
    }
}

/// Binds the addresses named, or the port on both loopback addresses.
pub(super) async fn bind(listen: &[SocketAddr], port: u16) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in listen {
        listeners.push(TcpListener::bind(address).await.map_err(|error| taken(*address, &error, "--listen"))?);
    }
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let first = TcpListener::bind(v4).await.map_err(|error| taken(v4, &error, "--port"))?;
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), first.local_addr()?.port());
    listeners.push(first);
    match TcpListener::bind(v6).await {
        Ok(second) => listeners.push(second),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(taken(v6, &error, "--port")),
        Err(error) => tracing::warn!(%error, "no [::1] on this machine: clients that resolve localhost to it first will wait"),
    }
    Ok(listeners)
}

/// Binds the ops port; a taken default is a sentence, too.
pub(super) async fn bind_ops(port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    carelink_platform::ops::bind(address).await.map_err(|error| taken(address, &error, "--ops-port"))
}

fn taken(address: SocketAddr, error: &io::Error, option: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failed("port_taken", format!("something else listens on {address}; choose another with {option}, or 0 for any free one"))
        }
        io::ErrorKind::PermissionDenied => {
            failed("port_refused", format!("this user may not listen on {address}; choose a port from 1024 up with {option}"))
        }
        _ => failed("port_refused", format!("cannot listen on {address}: {error}; choose another with {option}")),
    }
}
