//! Which service a `Host` means.

use std::collections::HashMap;
use std::rc::Rc;

use crate::config::{ProxyConfig, Upstream};
use crate::names::ServiceName;
use crate::upstream::Cluster;

/// Services that can be called, by the names under which callers know them.
pub(crate) struct Destinations<T = Rc<Cluster>> {
    services: Vec<(ServiceName, T)>,
    /// Positions in `services` by `name.namespace`, and by bare `name` in the own namespace.
    by_host: HashMap<String, usize>,
}

impl Destinations {
    pub(crate) fn of(config: &ProxyConfig, cluster: impl Fn(&[Upstream]) -> Rc<Cluster>) -> Self {
        let services = config.services.iter().map(|(name, upstreams)| (name.clone(), cluster(upstreams)));
        Self::new(services.collect(), config.service.as_ref().map(ServiceName::namespace))
    }

    pub(crate) fn prune(&self) {
        self.services.iter().for_each(|(_, cluster)| cluster.prune());
    }
}

impl<T> Destinations<T> {
    fn new(services: Vec<(ServiceName, T)>, own_namespace: Option<&str>) -> Self {
        let mut by_host = HashMap::new();
        for (index, (service, _)) in services.iter().enumerate() {
            let (namespace, name) = (service.namespace(), service.name());
            by_host.insert(format!("{name}.{namespace}").to_ascii_lowercase(), index);
            if own_namespace == Some(namespace) {
                by_host.insert(name.to_ascii_lowercase(), index);
            }
        }
        Self { services, by_host }
    }

    /// The service of a host in lower case: `name.namespace`, `name.namespace.svc` with or without a cluster's domain behind it,
    /// or `name` in the own namespace. The port does not matter.
    pub(crate) fn find(&self, host: &str) -> Option<&(ServiceName, T)> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = name.find(".svc.").and_then(|end| name.get(..end)).unwrap_or(name);
        let name = name.strip_suffix(".svc").unwrap_or(name);
        self.services.get(*self.by_host.get(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_means_one_service() {
        let services = ["shop/catalog", "other/catalog", "other/pay"].map(|name| (name.parse().unwrap(), ()));
        let destinations = Destinations::new(services.into(), Some("shop"));
        for (host, expected) in [
            ("catalog", Some("shop/catalog")),
            ("catalog:80", Some("shop/catalog")),
            ("catalog.other", Some("other/catalog")),
            ("catalog.shop.svc", Some("shop/catalog")),
            ("pay.other.svc.cluster.local:8080", Some("other/pay")),
            ("pay.other.svc.cluster.local.", Some("other/pay")),
            ("pay", None),
            ("pay.other.example.com", None),
            ("", None),
            ("[::1]:80", None),
        ] {
            assert_eq!(destinations.find(host).map(|(name, ())| name.as_str()), expected, "{host}");
        }
    }
}
