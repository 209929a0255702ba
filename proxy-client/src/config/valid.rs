//! From what is written to what is meant, or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use tollgate_attributes::BatchLimits;
use tollgate_config::{ConfigError, Exposed, Problem, check_listen};
use tollgate_policies::Standpoint;

use super::raw::{Identity, RawConfig, RawEngineTls, WithoutSnapshot};
use crate::engine_channel::{EngineAddress, EngineTls};
use crate::names::ServiceName;
use crate::routes::Routes;

/// What a proxy is to do. Made by [`ProxyConfig::load`] or [`ProxyConfig::parse`].
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    pub(crate) name: String,
    pub(crate) engine: EngineAddress,
    pub(crate) service: Option<ServiceName>,
    pub(crate) version: String,
    pub(crate) identity: Identity,
    pub(crate) inbound: Option<Inbound>,
    pub(crate) outbound: Option<SocketAddr>,
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) services: BTreeMap<ServiceName, Vec<Upstream>>,
    pub(crate) routes: Routes,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) has_problem_body: bool,
    pub(crate) without_snapshot: WithoutSnapshot,
    pub(crate) workers: usize,
    pub(crate) connections_max: usize,
    pub(crate) buffers: Buffers,
    pub(crate) timeouts: Timeouts,
    effective: RawConfig,
}

/// Where requests to the fronted service come in, and where they go.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// The fronted service itself.
    pub forward: Upstream,
}

/// One address that requests are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port`.
    pub address: Arc<str>,
    /// What is spoken there.
    pub protocol: UpstreamProtocol,
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS by prior knowledge, `h2c://`; what gRPC needs.
    Http2,
}

/// Bounds of what is kept until the engine has it.
#[derive(Debug, Clone, Copy)]
pub struct Buffers {
    /// When a worker's batch is full.
    pub batch: BatchLimits,
    /// When a batch that is not full leaves all the same.
    pub batch_age: Duration,
    /// Most bytes of encoded batches that wait for the engine, of all workers together.
    pub bytes_max: usize,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect to an upstream.
    pub connect: Duration,
    /// From forwarding a request to the headers of its response.
    pub upstream: Duration,
    /// Without a request on a connection, and to send the headers of one.
    pub idle: Duration,
    /// To finish what is under way, and to hand over the last rows, at the end.
    pub shutdown: Duration,
}

impl ProxyConfig {
    /// Reads `proxy.yaml`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::validate(path, tollgate_config::load(path)?)
    }

    /// As [`ProxyConfig::load`], from a text; `path` only names it in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::validate(path, tollgate_config::from_str(path, text)?)
    }

    /// The configuration with all defaults filled in, as `--check` and the admin listener show it. It has no secrets.
    #[must_use]
    pub fn effective(&self) -> serde_json::Value {
        serde_json::to_value(&self.effective).unwrap_or_default()
    }

    /// Services whose limits this proxy enforces.
    #[must_use]
    pub(crate) fn fronted(&self) -> Vec<String> {
        let own = self.inbound.iter().filter_map(|_| self.service.as_ref());
        let behind = self.gateway.iter().flat_map(|_| self.services.keys());
        let mut fronted: Vec<_> = own.chain(behind).map(ToString::to_string).collect();
        fronted.sort_unstable();
        fronted.dedup();
        fronted
    }

    /// The requests that this proxy's enforcer is asked about.
    #[must_use]
    pub(crate) fn standpoint(&self) -> Standpoint {
        let calling = self.outbound.iter().filter_map(|_| self.service.as_ref());
        let calls = self.outbound.iter().flat_map(|_| self.services.keys());
        Standpoint {
            called: self.fronted(),
            calling: calling.map(ToString::to_string).collect(),
            calls: calls.map(ToString::to_string).collect(),
        }
    }

    fn validate(path: &Path, mut raw: RawConfig) -> Result<Self, ConfigError> {
        if raw.name.is_empty() {
            raw.name = default_name(&raw);
        }
        raw.workers = Some(raw.workers.unwrap_or_else(cores));
        let mut check = Check::default();
        let config = check.config(&raw);
        match config {
            Some(config) if check.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::new(path, check.problems)),
        }
    }
}

/// Collects problems while values are turned into their types.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn config(&mut self, raw: &RawConfig) -> Option<ProxyConfig> {
        self.listens(raw);
        let engine = self.engine(raw);
        let service = raw.service.as_deref().map(|service| self.value("service", service.parse()));
        let inbound = raw.inbound.as_ref().map(|inbound| {
            let forward = self.upstream("inbound.forward", &inbound.forward)?;
            Some(Inbound { listen: inbound.listen, forward })
        });
        let services = self.services(&raw.services);
        let routes = Routes::new(&raw.routes);
        let routes = self.value("routes", routes);
        let headers = self.headers(&raw.headers);
        self.bounds(raw);
        Some(ProxyConfig {
            name: raw.name.clone(),
            engine: engine?,
            service: transposed(service)?,
            version: raw.version.clone().unwrap_or_default(),
            identity: raw.identity,
            inbound: transposed(inbound)?,
            outbound: raw.outbound.as_ref().map(|outbound| outbound.listen),
            gateway: raw.gateway.as_ref().map(|gateway| gateway.listen),
            admin: raw.admin.as_ref().map(|admin| admin.listen),
            services,
            routes: routes?,
            headers,
            has_problem_body: raw.problem_body,
            without_snapshot: raw.without_snapshot,
            workers: raw.workers.unwrap_or(1),
            connections_max: raw.connections_max,
            buffers: Buffers {
                batch: BatchLimits { rows_max: raw.buffers.batch_rows, ..BatchLimits::default() },
                batch_age: raw.buffers.batch_age.0,
                bytes_max: usize::try_from(raw.buffers.bytes.0).unwrap_or(usize::MAX),
            },
            timeouts: Timeouts {
                connect: raw.timeouts.connect.0,
                upstream: raw.timeouts.upstream.0,
                idle: raw.timeouts.idle.0,
                shutdown: raw.timeouts.shutdown.0,
            },
            effective: raw.clone(),
        })
    }

    fn listens(&mut self, raw: &RawConfig) {
        let exposed = if raw.insecure { Exposed::Insecurely } else { Exposed::No };
        let listens = [
            ("inbound.listen", raw.inbound.as_ref().map(|inbound| inbound.listen)),
            ("outbound.listen", raw.outbound.as_ref().map(|outbound| outbound.listen)),
            ("gateway.listen", raw.gateway.as_ref().map(|gateway| gateway.listen)),
            ("admin.listen", raw.admin.as_ref().map(|admin| admin.listen)),
        ];
        let exposures = listens.iter().filter_map(|(key, address)| check_listen(key, (*address)?, exposed));
        self.problems.extend(exposures);
        for (index, (key, address)) in listens.iter().enumerate() {
            let same = listens[..index]
                .iter()
                .find(|(_, other)| address.is_some_and(|address| address.port() != 0) && other == address);
            if let Some((other, _)) = same {
                self.problem(format!("`{key}` and `{other}` are the same address"));
            }
        }
        if raw.inbound.is_none() && raw.outbound.is_none() && raw.gateway.is_none() {
            self.problem("there is nothing to do: give `inbound`, `outbound` or `gateway`");
        }
        if raw.service.is_none() && (raw.inbound.is_some() || raw.outbound.is_some()) {
            self.problem("`service: namespace/name` is missing: it says which service this proxy stands for");
        }
        if raw.services.is_empty() && raw.gateway.is_some() {
            self.problem("`gateway` needs `services` to route to");
        }
    }

    fn engine(&mut self, raw: &RawConfig) -> Option<EngineAddress> {
        let text = &raw.engine;
        let uri = text.parse::<Uri>().ok();
        let is_address = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some() && uri.path() == "/"
        };
        let Some(uri) = uri.filter(is_address) else {
            self.problem(format!(
                "`engine: {text}` is no address of an engine: write `http://host:port` or `https://host:port`"
            ));
            return None;
        };
        let is_tls = uri.scheme_str() == Some("https");
        if is_tls != raw.engine_tls.is_some() {
            self.problem(match is_tls {
                true => {
                    "`engine: https://…` needs `engine_tls: { ca: FILE }`: the authority of the engine's certificate"
                }
                false => "`engine_tls` is there, and `engine` does not begin with `https://`",
            });
        }
        let is_loopback = uri.host().is_some_and(is_loopback);
        if raw.engine_token_file.is_some() && !is_tls && !is_loopback && !raw.insecure {
            self.problem("`engine_token_file`: a token would leave this machine in the clear: use `https://`");
        }
        let tls = raw.engine_tls.as_ref().and_then(|tls| self.engine_tls(tls));
        Some(EngineAddress { uri, tls, token_file: raw.engine_token_file.clone() })
    }

    fn engine_tls(&mut self, raw: &RawEngineTls) -> Option<EngineTls> {
        let client = match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => {
                self.problem("`engine_tls` needs both `cert` and `key`, or neither");
                return None;
            }
        };
        Some(EngineTls { ca: raw.ca.clone(), client, server_name: raw.server_name.clone() })
    }

    fn services(&mut self, raw: &BTreeMap<String, Vec<String>>) -> BTreeMap<ServiceName, Vec<Upstream>> {
        let mut services = BTreeMap::new();
        for (name, addresses) in raw {
            if addresses.is_empty() {
                self.problem(format!("`services.{name}` has no address"));
            }
            let key = format!("services.{name}");
            let upstreams: Vec<_> = addresses.iter().filter_map(|address| self.upstream(&key, address)).collect();
            if let Some(name) = self.value("services", name.parse()) {
                services.insert(name, upstreams);
            }
        }
        services
    }

    fn upstream(&mut self, key: &str, text: &str) -> Option<Upstream> {
        let (protocol, address) = match text.split_once("://") {
            Some(("h2c", address)) => (UpstreamProtocol::Http2, address),
            Some(("http", address)) => (UpstreamProtocol::Http1, address),
            Some(_) => (UpstreamProtocol::Http1, ""),
            None => (UpstreamProtocol::Http1, text),
        };
        let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = host.parse::<http::uri::Authority>().is_ok_and(|authority| authority.port().is_none());
            is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if !is_address {
            self.problem(format!("`{key}: {text}` is no upstream: write `host:port`, or `h2c://host:port` for HTTP/2"));
            return None;
        }
        Some(Upstream { address: address.into(), protocol })
    }

    fn headers(&mut self, names: &[String]) -> Vec<HeaderName> {
        const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
        let mut headers = Vec::new();
        for name in names {
            match HeaderName::try_from(name.as_str()) {
                Ok(header) if SECRET.contains(&header.as_str()) => {
                    self.problem(format!("`headers`: `{name}` carries secrets and is never recorded"));
                }
                Ok(header) => headers.push(header),
                Err(_) => self.problem(format!("`headers`: `{name}` is no header name")),
            }
        }
        headers
    }

    fn bounds(&mut self, raw: &RawConfig) {
        if raw.workers.and_then(NonZeroUsize::new).is_none_or(|workers| workers.get() > 256) {
            self.problem("`workers` must be between 1 and 256");
        }
        if raw.connections_max == 0 {
            self.problem("`connections_max` must be at least 1");
        }
        if raw.buffers.batch_rows == 0 || raw.buffers.batch_rows > 65_536 {
            self.problem("`buffers.batch_rows` must be between 1 and 65536");
        }
        if raw.buffers.bytes.0 < 1 << 16 {
            self.problem("`buffers.bytes` must be at least 64KiB");
        }
        let timeouts = &raw.timeouts;
        for (key, timeout) in [
            ("buffers.batch_age", raw.buffers.batch_age),
            ("timeouts.connect", timeouts.connect),
            ("timeouts.upstream", timeouts.upstream),
            ("timeouts.idle", timeouts.idle),
            ("timeouts.shutdown", timeouts.shutdown),
        ] {
            if timeout.0.is_zero() {
                self.problem(format!("`{key}` must be longer than nothing"));
            }
        }
    }

    fn value<T, E: std::fmt::Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.problem(format!("`{key}`: {error}"))).ok()
    }

    fn problem(&mut self, message: impl Into<String>) {
        self.problems.push(Problem::new(message));
    }
}

/// A value that is absent, or present and valid; `None` when it is present and was refused.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether the value was refused, the inner whether it was given"
)]
fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The service with the process id, which differs between the replicas of one machine.
fn default_name(raw: &RawConfig) -> String {
    let service = raw.service.as_deref().unwrap_or("gateway").replace('/', "-");
    format!("{service}-{}", std::process::id())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProxyConfig, String> {
        ProxyConfig::parse(Path::new("proxy.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_documents_is_valid() {
        let config = parse(
            "name: catalog-1\n\
             engine: http://127.0.0.1:7401\n\
             service: shop/catalog\n\
             inbound:  { listen: 127.0.0.1:8080, forward: 127.0.0.1:9090 }\n\
             outbound: { listen: 127.0.0.1:8081 }\n\
             services:\n  shop/payments: [127.0.0.1:8180, \"h2c://127.0.0.1:8181\"]\n",
        )
        .unwrap();
        let upstreams = &config.services[&"shop/payments".parse().unwrap()];
        assert_eq!(upstreams[0].protocol, UpstreamProtocol::Http1);
        assert_eq!(upstreams[1], Upstream { address: "127.0.0.1:8181".into(), protocol: UpstreamProtocol::Http2 });
        assert_eq!((config.identity, config.without_snapshot), (Identity::None, WithoutSnapshot::Deny));
        assert_eq!(config.timeouts.connect, Duration::from_secs(1));
        assert_eq!(config.fronted(), ["shop/catalog"]);
        assert_eq!(config.effective()["buffers"]["bytes"], "64MiB");
    }

    /// `docs/proxy.md` shows every key, each with its default or a value of its own.
    #[test]
    fn the_page_of_all_keys_is_valid_and_whole() {
        let page = include_str!("../../../docs/proxy.md");
        let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = parse(yaml).unwrap();
        for key in config.effective().as_object().unwrap().keys() {
            assert!(yaml.lines().any(|line| line.starts_with(&format!("{key}:"))), "`{key}` is not in docs/proxy.md");
        }
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let problems = parse(
            "engine: ftp://x\n\
             service: shop\n\
             inbound: { listen: 0.0.0.0:8080, forward: nowhere }\n\
             outbound: { listen: 0.0.0.0:8080 }\n\
             services: { shop/a: [], b: [\"1.2.3.4:80\"] }\n\
             routes: [\"/a/{id}\", \"/a/{other}\"]\n\
             headers: [\"a b\", Authorization]\n\
             workers: 0\n\
             timeouts: { connect: 0s }\n",
        )
        .unwrap_err();
        for expected in [
            "`inbound.listen: 0.0.0.0:8080` is beyond loopback",
            "`outbound.listen: 0.0.0.0:8080` is beyond loopback",
            "`outbound.listen` and `inbound.listen` are the same address",
            "`engine: ftp://x` is no address",
            "`service`: `shop` is no service",
            "`inbound.forward: nowhere` is no upstream",
            "`services.shop/a` has no address",
            "`services`: `b` is no service",
            "`routes`: ",
            "`headers`: `a b` is no header name",
            "`headers`: `Authorization` carries secrets",
            "`workers` must be between 1 and 256",
            "`timeouts.connect` must be longer than nothing",
        ] {
            assert!(problems.contains(expected), "{expected} is missing in\n{problems}");
        }
        assert_eq!(problems.lines().count(), 13, "{problems}");
    }

    #[test]
    fn an_engine_with_tls_is_known_by_its_authority() {
        let with = |engine: &str| parse(&format!("{engine}service: a/b\noutbound: {{ listen: 127.0.0.1:0 }}\n"));
        let config =
            with("engine: https://engine:7401\nengine_tls: { ca: ca.pem, cert: c.pem, key: k.pem }\n").unwrap();
        let tls = config.engine.tls.unwrap();
        assert_eq!((tls.ca, tls.client), ("ca.pem".into(), Some(("c.pem".into(), "k.pem".into()))));
        for (engine, expected) in [
            ("engine: https://engine:7401\n", "needs `engine_tls: { ca: FILE }`"),
            ("engine_tls: { ca: ca.pem }\n", "does not begin with `https://`"),
            ("engine: https://e:1\nengine_tls: { ca: ca.pem, key: k.pem }\n", "needs both `cert` and `key`"),
            ("engine: http://engine:7401\nengine_token_file: t\n", "would leave this machine in the clear"),
        ] {
            let problems = with(engine).unwrap_err();
            assert!(problems.contains(expected) && problems.lines().count() == 1, "{expected}: {problems}");
        }
        assert!(with("engine_token_file: t\n").is_ok(), "on this machine a token is safe");
    }

    #[test]
    fn something_has_to_be_served_for_somebody() {
        assert!(parse("name: x").unwrap_err().contains("there is nothing to do"));
        let problems = parse("inbound: { listen: 127.0.0.1:0, forward: 127.0.0.1:1 }").unwrap_err();
        assert!(problems.contains("`service: namespace/name` is missing"), "{problems}");
        assert!(parse("inbuond: {}").unwrap_err().contains("unknown key `inbuond`"));
    }
}
