//! Where a reporter stands.

/// The requests that an enforcer is asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Standpoint {
    /// Services in front of which it stands, as `namespace/name`: it decides what calls them.
    pub called: Vec<String>,
    /// Services that call through it: it may refuse early what they ask of those in `calls`.
    pub calling: Vec<String>,
    /// Services that can be called through it.
    pub calls: Vec<String>,
}

impl Standpoint {
    pub(crate) fn decides(&self, destination: &str) -> bool {
        self.called.iter().any(|service| service == destination)
    }

    pub(crate) fn refuses_early(&self, source: &str, destination: &str) -> bool {
        let has = |services: &[String], name: &str| services.iter().any(|service| service == name);
        self.decides(destination) || (has(&self.calling, source) && has(&self.calls, destination))
    }
}
