//! `tollgate.yaml`: read raw, made valid in one step, printed by `tollgate config`.

mod auth;
mod export;
mod storage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tollgate_adapters::guard::GuardConfig;
use tollgate_config::{ByteSize, ConfigError, DurationText, Exposed, check_listen};
use tollgate_engine::EngineConfig;
use tollgate_policies::Mode;

use self::auth::{Auth, Tls};
use self::export::Export;
use self::storage::{DurabilityByTable, Retention, Sampling, Seal, Storage};
use crate::cli::ConfigArgs;
use crate::output::Format;

/// The file as it is written. Everything has a default, so that an empty file is a valid one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Directory for what the engine keeps.
    pub(crate) data: PathBuf,
    /// Directory of policies, watched.
    pub(crate) policies: PathBuf,
    /// Directories of policies that SQL's `authorize` tries on recorded requests, by name.
    pub(crate) policy_sets: BTreeMap<String, PathBuf>,
    pub(crate) listen: Listen,
    /// Listen beyond loopback without TLS or without asking who connects.
    pub(crate) insecure: bool,
    /// Who may connect.
    pub(crate) auth: Auth,
    /// Certificate of the ports.
    pub(crate) tls: Option<Tls>,
    pub(crate) mode: ModeSetting,
    pub(crate) durability: DurabilityByTable,
    pub(crate) retention: Retention,
    /// When rows become files.
    pub(crate) seal: Seal,
    /// Where sealed rows go instead of the data directory.
    pub(crate) storage: Storage,
    pub(crate) sampling: Vec<Sampling>,
    pub(crate) memory: Memory,
    pub(crate) query: QueryLimits,
    /// How often signals run unless their file says otherwise.
    pub(crate) signals_every: DurationText,
    /// How long a lease holds without being renewed.
    pub(crate) lease_ttl: DurationText,
    /// Telemetry that goes elsewhere.
    pub(crate) export: Export,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Listen {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) postgres: SocketAddr,
}

/// `mode: enforce`, `mode: observe`, or `mode: { observe: [shop/catalog] }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum ModeSetting {
    All(ModeWord),
    Some { observe: Vec<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeWord {
    Enforce,
    Observe,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// For rows; acknowledgements wait when it is full.
    pub(crate) rows: ByteSize,
    /// For all running queries together.
    pub(crate) queries: ByteSize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueryLimits {
    pub(crate) timeout: DurationText,
    pub(crate) rows_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            data: engine.data,
            policies: engine.policies,
            policy_sets: engine.policy_sets,
            listen: Listen::default(),
            insecure: false,
            auth: Auth::default(),
            tls: None,
            mode: ModeSetting::All(ModeWord::Enforce),
            durability: DurabilityByTable::default(),
            retention: Retention::default(),
            seal: Seal::default(),
            storage: Storage::default(),
            sampling: Vec::new(),
            memory: Memory::default(),
            query: QueryLimits::default(),
            signals_every: DurationText(engine.signals_every),
            lease_ttl: DurationText(engine.lease_ttl),
            export: Export::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { http: loopback(7400), grpc: loopback(7401), postgres: loopback(7432) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self { rows: ByteSize(engine.hot_bytes_max as u64), queries: ByteSize(engine.query_bytes_max as u64) }
    }
}

impl Default for QueryLimits {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self { timeout: DurationText(engine.query_timeout), rows_max: engine.query_rows_max as u64 }
    }
}

impl Settings {
    /// Reads the file and checks what its types cannot.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let settings: Self = tollgate_config::load(path)?;
        let exposed = match (settings.insecure, auth::is_guarded(&settings.auth, settings.tls.as_ref())) {
            (_, true) => Exposed::Guarded,
            (true, false) => Exposed::Insecurely,
            (false, false) => Exposed::No,
        };
        let listen = &settings.listen;
        let listens =
            [("listen.http", listen.http), ("listen.grpc", listen.grpc), ("listen.postgres", listen.postgres)];
        let mut problems: Vec<_> =
            listens.into_iter().filter_map(|(key, address)| check_listen(key, address, exposed)).collect();
        if settings.policy_sets.contains_key("live") {
            let message = "`policy_sets`: `live` is the set in force: name this one otherwise";
            problems.push(tollgate_config::Problem::new(message.to_owned()));
        }
        problems.extend(settings.auth.problems(settings.tls.as_ref()));
        problems.extend(settings.retention.problems());
        problems.extend(settings.storage.problem());
        problems.extend(settings.export.problems());
        if problems.is_empty() { Ok(settings) } else { Err(ConfigError::new(path, problems)) }
    }

    /// How those who connect are received.
    pub(crate) fn guard(&self) -> GuardConfig {
        self.auth.to_config(self.tls.as_ref())
    }

    /// What the engine needs of it.
    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            data: self.data.clone(),
            policies: self.policies.clone(),
            policy_sets: self.policy_sets.clone(),
            mode: self.mode.to_mode(),
            hot_bytes_max: usize::try_from(self.memory.rows.0).unwrap_or(usize::MAX),
            query_bytes_max: usize::try_from(self.memory.queries.0).unwrap_or(usize::MAX),
            query_timeout: self.query.timeout.0,
            query_rows_max: usize::try_from(self.query.rows_max).unwrap_or(usize::MAX),
            durability: self.durability.requests.into(),
            retention: self.retention.to_config(),
            seal_after: self.seal.after.0,
            seal_rows: self.seal.rows.get(),
            remote: self.storage.to_config(),
            sampling: self.sampling.iter().map(Sampling::to_config).collect(),
            lease_ttl: self.lease_ttl.0,
            signals_every: self.signals_every.0,
            ..EngineConfig::default()
        }
    }
}

impl ModeSetting {
    fn to_mode(&self) -> Mode {
        match self {
            Self::All(word) => Mode { observe: *word == ModeWord::Observe, observed_services: Vec::new() },
            Self::Some { observe } => Mode { observe: false, observed_services: observe.clone() },
        }
    }
}

/// `tollgate config`.
pub(crate) fn print(args: &ConfigArgs) -> anyhow::Result<()> {
    let settings = Settings::load(&args.config)?;
    match args.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&settings)?),
        Format::Table => print!("{}", serde_saphyr::to_string(&settings)?),
        Format::Csv => anyhow::bail!("`config` prints `table` (YAML) or `json`"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, ConfigError> {
        tollgate_config::from_str(Path::new("tollgate.yaml"), text)
    }

    #[test]
    fn an_empty_file_is_all_defaults_and_what_is_printed_reads_back() {
        let settings = parse("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(parse(&serde_saphyr::to_string(&settings).unwrap()).unwrap(), settings);
    }

    #[test]
    fn mode_is_a_word_or_the_services_that_are_observed() {
        assert!(parse("mode: observe").unwrap().mode.to_mode().observe);
        let some = parse("mode: { observe: [shop/catalog] }").unwrap().mode.to_mode();
        assert!(!some.observe);
        assert_eq!(some.observed_services, ["shop/catalog"]);
        assert!(parse("mode: maybe").is_err());
    }

    #[test]
    fn unknown_keys_are_all_listed() {
        let problems = parse("dta: x\nlisten: { htp: '127.0.0.1:1' }\n").unwrap_err().to_string();
        assert_eq!(problems, "tollgate.yaml:1: unknown key `dta`\ntollgate.yaml:2: unknown key `listen.htp`");
    }
}
