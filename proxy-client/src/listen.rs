//! Sockets to listen on, one for each worker on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 1_024;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("port {port} is in use: `{key}: {address}` cannot listen there", port = .address.port())]
    InUse {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("`{key}: {address}` cannot be listened on: {source}")]
    Other {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// `count` listeners on one address; with port 0, on one free port. The kernel spreads connections over them.
pub(crate) fn listen(key: &'static str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    try_listen(address, count).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { key, address },
        _ => ListenError::Other { key, address, source },
    })
}

fn try_listen(mut address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 && count > 1 {
        // With SO_REUSEPORT a second process would join in silently and take half of the connections: look first.
        drop(bind(address, Sharing::Alone)?);
    }
    let sharing = if count > 1 { Sharing::Workers } else { Sharing::Alone };
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = bind(address, sharing)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Workers,
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_free_port_that_nobody_else_gets() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = listen("inbound.listen", any, 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        for count in [1, 3] {
            let error = listen("inbound.listen", address, count).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("port {} is in use: `inbound.listen: {address}` cannot listen there", address.port())
            );
        }
    }
}
