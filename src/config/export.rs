//! What `tollgate.yaml` says about telemetry that goes elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use tollgate_adapters::export::{ExportError, shown};
use tollgate_adapters::otlp::{Logs, Otlp, OtlpOptions, OtlpProtocol, Traces};
use tollgate_adapters::remote_write::{RemoteWrite, RemoteWriteOptions};
use tollgate_config::{DurationText, Problem};

/// Shortest rhythm of metrics.
const RHYTHM_MIN: Duration = Duration::from_secs(1);

/// Where telemetry goes; by default nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Export {
    /// To a collector of OpenTelemetry's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<OtlpSettings>,
    /// To a Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_write: Option<RemoteWriteSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteWriteSettings {
    /// `http://prometheus:9090/api/v1/write`
    #[serde(serialize_with = "without_secrets")]
    pub(crate) url: String,
    /// Sent with everything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub(crate) tls: ExportTls,
    #[serde(default = "rhythm")]
    pub(crate) every: DurationText,
    /// Of every series.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

fn rhythm() -> DurationText {
    DurationText(Duration::from_secs(15))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OtlpSettings {
    /// `http://collector:4317`
    #[serde(serialize_with = "without_secrets")]
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) protocol: ProtocolWord,
    /// Sent with everything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub(crate) tls: ExportTls,
    #[serde(default)]
    pub(crate) metrics: MetricsSetting,
    #[serde(default)]
    pub(crate) logs: LogsWord,
    #[serde(default)]
    pub(crate) traces: TracesWord,
    /// What takes as long is notable.
    #[serde(default = "slow")]
    pub(crate) slow: DurationText,
}

fn slow() -> DurationText {
    DurationText(Duration::from_secs(1))
}

fn without_secrets<S: Serializer>(endpoint: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(endpoint))
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExportTls {
    /// File in PEM; without it, whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProtocolWord {
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// As OpenTelemetry's own settings name it.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// `metrics: none`, or their rhythm: `metrics: 10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum MetricsSetting {
    Word(NoneWord),
    Every(DurationText),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoneWord {
    None,
}

impl Default for MetricsSetting {
    fn default() -> Self {
        Self::Every(rhythm())
    }
}

impl MetricsSetting {
    fn every(self) -> Option<Duration> {
        match self {
            Self::Word(NoneWord::None) => None,
            Self::Every(every) => Some(every.0),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogsWord {
    None,
    /// Denied, limited or shed.
    #[default]
    Refused,
    All,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TracesWord {
    None,
    /// Refused, failed or slow.
    #[default]
    Notable,
    All,
}

impl Export {
    pub(super) fn problems(&self) -> Vec<Problem> {
        // Most that can be wrong is found by whoever will send.
        let otlp = self.otlp().err().map(|error| Problem::new(format!("`export.otlp`: {error}")));
        let written = self.remote_write().err();
        let written = written.map(|error| Problem::new(format!("`export.remote_write`: {error}")));
        let rhythms = [
            ("otlp.metrics", self.otlp.as_ref().and_then(|otlp| otlp.metrics.every())),
            ("remote_write.every", self.remote_write.as_ref().map(|settings| settings.every.0)),
        ];
        let too_quick = rhythms.into_iter().filter(|(_, every)| every.is_some_and(|every| every < RHYTHM_MIN));
        let too_quick = too_quick.map(|(key, _)| Problem::new(format!("`export.{key}` has to be a second at least")));
        otlp.into_iter().chain(written).chain(too_quick).collect()
    }

    /// What pushes series, where something is to.
    pub(crate) fn remote_write(&self) -> Result<Option<RemoteWrite>, ExportError> {
        self.remote_write.as_ref().map(RemoteWriteSettings::to_remote_write).transpose()
    }

    /// The exporter, where there is to be one.
    pub(crate) fn otlp(&self) -> Result<Option<Otlp>, ExportError> {
        self.otlp.as_ref().map(OtlpSettings::to_otlp).transpose()
    }
}

impl RemoteWriteSettings {
    fn to_remote_write(&self) -> Result<RemoteWrite, ExportError> {
        RemoteWrite::new(RemoteWriteOptions {
            url: self.url.clone(),
            headers: pairs(&self.headers),
            ca: self.tls.ca.clone(),
            every: self.every.0,
            labels: self.labels.clone().into_iter().collect(),
        })
    }
}

fn pairs(headers: &BTreeMap<String, Secret>) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

impl OtlpSettings {
    fn to_otlp(&self) -> Result<Otlp, ExportError> {
        Otlp::new(OtlpOptions {
            endpoint: self.endpoint.clone(),
            protocol: match self.protocol {
                ProtocolWord::Grpc => OtlpProtocol::Grpc,
                ProtocolWord::Http => OtlpProtocol::Http,
            },
            headers: pairs(&self.headers),
            ca: self.tls.ca.clone(),
            metrics_every: self.metrics.every(),
            logs: match self.logs {
                LogsWord::None => Logs::None,
                LogsWord::Refused => Logs::Refused,
                LogsWord::All => Logs::All,
            },
            traces: match self.traces {
                TracesWord::None => Traces::None,
                TracesWord::Notable => Traces::Notable,
                TracesWord::All => Traces::All,
            },
            slow: self.slow.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    fn parse(text: &str) -> Result<Settings, tollgate_config::ConfigError> {
        tollgate_config::from_str(Path::new("tollgate.yaml"), text)
    }

    #[test]
    fn an_endpoint_is_enough_and_headers_are_never_printed() {
        let settings = parse("export: { otlp: { endpoint: 'http://collector:4317', headers: { x-token: s3cret } } }");
        let settings = settings.unwrap();
        let otlp = settings.export.otlp.as_ref().unwrap();
        assert_eq!(
            (otlp.protocol, otlp.logs, otlp.traces),
            (ProtocolWord::Grpc, LogsWord::Refused, TracesWord::Notable)
        );
        let printed = serde_saphyr::to_string(&settings).unwrap();
        assert!(!printed.contains("s3cret") && printed.contains("x-token"), "{printed}");
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
        let written = parse("export: { remote_write: { url: 'http://p:9090/api/v1/write?key=s3cret' } }").unwrap();
        let printed = serde_saphyr::to_string(&written).unwrap();
        assert!(!printed.contains("s3cret") && printed.contains("http://p:9090/api/v1/write?"), "{printed}");
        assert!(parse("export: { otlp: { endpoint: x, protocol: http/json } }").is_err());
        assert!(parse("export: { otlp: { protocol: grpc } }").is_err());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (otlp, expected) in [
            ("endpoint: 'http://collector:4317'", None),
            ("endpoint: 'http://collector:4318', protocol: http/protobuf, logs: all, slow: 250ms", None),
            ("endpoint: 'not an endpoint'", Some("`not an endpoint` is no endpoint")),
            ("endpoint: 'collector:4317'", Some("write it as http://HOST:PORT or https://HOST:PORT")),
            ("endpoint: 'http://c:1', headers: { 'a b': c }", Some("`a b` cannot be sent as a header")),
            ("endpoint: 'http://c:1', metrics: none", None),
            ("endpoint: 'http://c:1', metrics: 5ms", Some("`export.otlp.metrics` has to be a second at least")),
            ("endpoint: 'https://c:1', tls: { ca: /nowhere.pem }", Some("cannot be read from `/nowhere.pem`")),
        ] {
            let problems = parse(&format!("export: {{ otlp: {{ {otlp} }} }}")).unwrap().export.problems();
            let found = problems.first().map(|problem| problem.message.as_str());
            match expected {
                None => assert_eq!(found, None, "{otlp}"),
                Some(expected) => assert!(found.is_some_and(|found| found.contains(expected)), "{otlp}: {found:?}"),
            }
        }
    }

    #[test]
    fn remote_write_takes_a_url() {
        let write = "url: 'http://p:9090/api/v1/write', labels: { cluster: prod }, headers: { x-scope-orgid: a }";
        let settings = parse(&format!("export: {{ remote_write: {{ {write} }} }}")).unwrap();
        assert!(settings.export.problems().is_empty() && settings.export.remote_write().unwrap().is_some());
        let wrong = parse("export: { remote_write: { url: 'p:9090', every: 10ms } }").unwrap();
        assert_eq!(wrong.export.problems().len(), 2, "{:?}", wrong.export.problems());
    }
}
