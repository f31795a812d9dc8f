//! Where a gateway listens: 127.0.0.1 and [::1], because `localhost` may be either first; or where `gateway.listen` says.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::TcpListener;

/// The port where none is named.
const PORT: u16 = 8000;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}; choose another with gateway.listen", reason(source))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "something else does".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
        _ => error.to_string(),
    }
}

/// Binds the addresses named, or both loopback addresses; a machine without IPv6 has one.
///
/// # Errors
/// Names the address.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(bind_one(*address).await?);
    }
    if listeners.is_empty() {
        listeners.push(bind_one((Ipv4Addr::LOCALHOST, PORT).into()).await?);
        match bind_one((Ipv6Addr::LOCALHOST, PORT).into()).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => tracing::warn!(%error, "clients that resolve localhost to [::1] first will wait"),
        }
    }
    Ok(listeners)
}

async fn bind_one(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_a_sentence_that_names_the_setting() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]).await.unwrap();
        assert_eq!(taken.len(), 2);
        let address = taken[0].local_addr().unwrap();
        let sentence = bind(&[address]).await.unwrap_err().to_string();
        assert_eq!(sentence, format!("cannot listen on {address}: something else does; choose another with gateway.listen"));
    }
}
