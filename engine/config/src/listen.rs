//! Where a process may listen: beyond loopback only when it is asked for in so many words.

use std::net::SocketAddr;

use crate::load::Problem;

/// Whether a process may listen beyond loopback: with TLS and asking who connects, or because `insecure: true` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    /// Loopback only.
    No,
    /// TLS, and nobody comes in who has neither token nor certificate.
    Guarded,
    /// The user accepts that whoever reaches the port is believed.
    Insecurely,
}

/// Refuses an address beyond loopback that was not asked for explicitly. `key` is the setting's name.
#[must_use]
pub fn check_listen(key: &str, address: SocketAddr, exposed: Exposed) -> Option<Problem> {
    (!address.ip().is_loopback() && exposed == Exposed::No).then(|| {
        Problem::new(format!(
            "`{key}: {address}` is beyond loopback and not guarded: listen on 127.0.0.1, configure TLS and who may connect, or say `insecure: true`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_only_when_insecure_is_said() {
        let any = SocketAddr::from(([0, 0, 0, 0], 7400));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 7400));
        assert!(check_listen("listen.http", any, Exposed::No).is_some());
        assert!(check_listen("listen.http", any, Exposed::Insecurely).is_none());
        assert!(check_listen("listen.http", any, Exposed::Guarded).is_none());
        assert!(check_listen("listen.http", loopback, Exposed::No).is_none());
    }
}
