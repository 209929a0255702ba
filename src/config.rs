//! `tollgate.yaml`: read raw, made valid in one step, printed by `tollgate config`.

mod storage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tollgate_adapters::postgres::PostgresOptions;
use tollgate_config::{ByteSize, ConfigError, DurationText, Exposed, Problem, check_listen};
use tollgate_engine::EngineConfig;
use tollgate_policies::Mode;

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
    pub(crate) listen: Listen,
    /// Listen beyond loopback without TLS.
    pub(crate) insecure: bool,
    /// Who may connect to the PostgreSQL port.
    pub(crate) auth: Auth,
    /// Certificate of the PostgreSQL port.
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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Listen {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) postgres: SocketAddr,
}

/// Who is let in. With no tokens, whoever connects is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Auth {
    pub(crate) tokens: Vec<Token>,
}

/// A name and its secret, which is the password of PostgreSQL's clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) name: String,
    #[serde(serialize_with = "hidden")]
    pub(crate) token: String,
}

/// Secrets are not printed.
fn hidden<S: serde::Serializer>(_secret: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(hidden)")
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
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
        let exposed = if settings.insecure { Exposed::Insecurely } else { Exposed::No };
        let listen = &settings.listen;
        // Only this port has TLS and asks for tokens.
        let is_guarded = settings.tls.is_some() && !settings.auth.tokens.is_empty();
        let postgres = if is_guarded { Exposed::Insecurely } else { exposed };
        let listens = [
            ("listen.http", listen.http, exposed),
            ("listen.grpc", listen.grpc, exposed),
            ("listen.postgres", listen.postgres, postgres),
        ];
        let mut problems: Vec<_> =
            listens.into_iter().filter_map(|(key, address, exposed)| check_listen(key, address, exposed)).collect();
        problems.extend(settings.auth.problems());
        problems.extend(settings.retention.problems());
        problems.extend(settings.storage.problem());
        if problems.is_empty() { Ok(settings) } else { Err(ConfigError::new(path, problems)) }
    }

    /// What PostgreSQL's clients are received with.
    pub(crate) fn postgres(&self) -> anyhow::Result<PostgresOptions> {
        let tokens = self.auth.tokens.iter().map(|token| (token.name.clone(), token.token.clone())).collect();
        let tls = self.tls.as_ref().map(|tls| tollgate_adapters::postgres::tls(&tls.cert, &tls.key)).transpose()?;
        Ok(PostgresOptions { tls, tokens })
    }

    /// What the engine needs of it.
    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            data: self.data.clone(),
            policies: self.policies.clone(),
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

impl Auth {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            if self.tokens[..index].iter().any(|earlier| earlier.name == token.name) {
                problems.push(Problem::new(format!("`auth.tokens`: the name `{}` is there twice", token.name)));
            }
            if token.token.len() < TOKEN_BYTES_MIN {
                let message = format!(
                    "`auth.tokens`: the token of `{}` is shorter than {TOKEN_BYTES_MIN} characters: make one with `openssl rand -hex 16`",
                    token.name
                );
                problems.push(Problem::new(message));
            }
        }
        problems
    }
}

/// Shortest token.
const TOKEN_BYTES_MIN: usize = 16;

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
    fn tokens_are_checked_and_never_printed() {
        let settings = parse("auth: { tokens: [{ name: grafana, token: 0123456789abcdef }] }").unwrap();
        assert!(settings.auth.problems().is_empty());
        assert!(!serde_saphyr::to_string(&settings).unwrap().contains("0123456789abcdef"));
        let bad = parse("auth: { tokens: [{ name: a, token: short }, { name: a, token: 0123456789abcdef }] }").unwrap();
        assert_eq!(bad.auth.problems().len(), 2);
    }

    #[test]
    fn unknown_keys_are_all_listed() {
        let problems = parse("dta: x\nlisten: { htp: '127.0.0.1:1' }\n").unwrap_err().to_string();
        assert_eq!(problems, "tollgate.yaml:1: unknown key `dta`\ntollgate.yaml:2: unknown key `listen.htp`");
    }
}
