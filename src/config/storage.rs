//! What `tollgate.yaml` says about rows: how durable, how long, where, and which of them.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_config::{ByteSize, DurationText, Problem};
use tollgate_engine::{
    Durability, EngineConfig, MINUTES_KEPT_MIN, RemoteConfig, RetentionConfig, SECONDS_KEPT_MIN, SamplingConfig,
    TableRetention,
};

/// When a row counts as kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DurabilityByTable {
    pub(crate) requests: DurabilityWord,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DurabilityWord {
    /// Once it is on disk.
    #[default]
    Disk,
    /// Once it is in memory.
    Memory,
}

impl From<DurabilityWord> for Durability {
    fn from(word: DurabilityWord) -> Self {
        match word {
            DurabilityWord::Disk => Self::Disk,
            DurabilityWord::Memory => Self::Memory,
        }
    }
}

/// How long each table is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Retention {
    pub(crate) requests: Keep,
    pub(crate) traffic_1s: Keep,
    pub(crate) traffic_1m: Keep,
    pub(crate) traffic_1h: Keep,
}

/// `7d`, or `{ age: 7d, bytes: 100GiB }`: whatever is reached first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    age: Option<DurationText>,
    bytes: Option<ByteSize>,
}

/// [`Keep`] as a map.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KeepMap {
    age: Option<DurationText>,
    bytes: Option<ByteSize>,
}

impl Serialize for Keep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.age, self.bytes) {
            (Some(age), None) => age.serialize(serializer),
            (age, bytes) => KeepMap { age, bytes }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeepVisitor)
    }
}

struct KeepVisitor;

impl<'de> Visitor<'de> for KeepVisitor {
    type Value = Keep;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `7d`, or `{ age: 7d, bytes: 100GiB }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Keep, E> {
        let age = text.parse().map_err(E::custom)?;
        Ok(Keep { age: Some(age), bytes: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keep, A::Error> {
        let KeepMap { age, bytes } = KeepMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Keep { age, bytes })
    }
}

impl From<TableRetention> for Keep {
    fn from(retention: TableRetention) -> Self {
        Self { age: retention.age.map(DurationText), bytes: retention.bytes.map(ByteSize) }
    }
}

impl From<Keep> for TableRetention {
    fn from(keep: Keep) -> Self {
        Self { age: keep.age.map(|age| age.0), bytes: keep.bytes.map(|bytes| bytes.0) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let RetentionConfig { requests, traffic_1s, traffic_1m, traffic_1h } = RetentionConfig::default();
        Self {
            requests: requests.into(),
            traffic_1s: traffic_1s.into(),
            traffic_1m: traffic_1m.into(),
            traffic_1h: traffic_1h.into(),
        }
    }
}

impl Retention {
    pub(super) fn to_config(&self) -> RetentionConfig {
        RetentionConfig {
            requests: self.requests.into(),
            traffic_1s: self.traffic_1s.into(),
            traffic_1m: self.traffic_1m.into(),
            traffic_1h: self.traffic_1h.into(),
        }
    }

    /// What would leave a hole in `traffic`, which shows seconds, then minutes, then hours, or in panels of dashboards, which read
    /// whole hours wherever there are minutes.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let too_short = |key: &str, keep: Keep, least: Duration| {
            let age = keep.age.filter(|age| age.0 < least)?;
            let least = DurationText(least);
            Some(Problem::new(format!("`retention.{key}` is {age}: the view `traffic` needs {least} at least")))
        };
        let checks =
            [("traffic_1s", self.traffic_1s, SECONDS_KEPT_MIN), ("traffic_1m", self.traffic_1m, MINUTES_KEPT_MIN)];
        let mut problems: Vec<_> =
            checks.into_iter().filter_map(|(key, keep, least)| too_short(key, keep, least)).collect();
        if let (Some(hours), minutes) = (self.traffic_1h.age, self.traffic_1m.age)
            && minutes.is_none_or(|minutes| hours.0 < minutes.0)
        {
            let minutes = minutes.map_or_else(|| "for ever".to_owned(), |minutes| minutes.to_string());
            problems.push(Problem::new(format!(
                "`retention.traffic_1h` is {hours}: hours are kept at least as long as minutes (`traffic_1m`: {minutes})"
            )));
        }
        problems
    }
}

/// When rows become files: whatever is reached first. Before that they are in the log and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seal {
    pub(crate) after: DurationText,
    pub(crate) rows: NonZeroU64,
}

impl Default for Seal {
    fn default() -> Self {
        let EngineConfig { seal_after, seal_rows, .. } = EngineConfig::default();
        Self { after: DurationText(seal_after), rows: NonZeroU64::new(seal_rows).unwrap_or(NonZeroU64::MIN) }
    }
}

/// An S3-compatible store. Credentials come from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Storage {
    /// `s3://bucket/prefix`; without it, sealed rows stay in the data directory.
    pub(crate) url: Option<String>,
    /// Of a store that is not Amazon's.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
}

impl Storage {
    pub(super) fn to_config(&self) -> Option<RemoteConfig> {
        let (endpoint, region) = (self.endpoint.clone(), self.region.clone());
        self.url.clone().map(|url| RemoteConfig { url, endpoint, region })
    }

    pub(super) fn problem(&self) -> Option<Problem> {
        match self.to_config() {
            Some(remote) => remote.place().err().map(|error| Problem::new(format!("`storage.url`: {error}"))),
            None if self.endpoint.is_some() || self.region.is_some() => {
                Some(Problem::new("`storage` names no `url`: write s3://BUCKET/PREFIX"))
            }
            None => None,
        }
    }
}

/// Which raw rows of a called service stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sampling {
    /// The called service; without it, all that no other rule names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// Of so many rows one stays.
    pub(crate) keep_one_in: NonZeroU32,
    /// What took longer stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<DurationText>,
}

impl Sampling {
    pub(super) fn to_config(&self) -> SamplingConfig {
        let slow = self.slow.map(|slow| slow.0);
        SamplingConfig { service: self.service.clone(), keep_one_in: self.keep_one_in, slow }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Settings;

    fn parse(text: &str) -> Result<Settings, tollgate_config::ConfigError> {
        tollgate_config::from_str(Path::new("tollgate.yaml"), text)
    }

    #[test]
    fn retention_is_an_age_or_a_map() {
        let settings = parse("retention: { requests: 3d, traffic_1s: { age: 2h, bytes: 1GiB } }").unwrap();
        let retention = settings.retention.to_config();
        assert_eq!(retention.requests.age.unwrap().as_secs(), 3 * 86_400);
        assert_eq!((retention.traffic_1s.age.unwrap().as_secs(), retention.traffic_1s.bytes), (7_200, Some(1 << 30)));
        assert_eq!(parse(&serde_saphyr::to_string(&settings).unwrap()).unwrap(), settings);
        let error = parse("retention: { requests: { aeg: 3d } }").unwrap_err().to_string();
        assert!(error.contains("unknown key `retention.requests.aeg`"), "{error}");
        let short = parse("retention: { traffic_1s: 1m, traffic_1m: 1h }").unwrap();
        assert_eq!(short.retention.problems().len(), 2);
        let holed = parse("retention: { traffic_1m: 60d, traffic_1h: 30d }").unwrap().retention.problems();
        assert!(holed.len() == 1 && holed[0].message.contains("at least as long as minutes"), "{holed:?}");
    }

    #[test]
    fn rows_are_sealed_by_age_and_number() {
        let config = parse("seal: { after: 5s, rows: 5000 }").unwrap().engine();
        assert_eq!((config.seal_after.as_secs(), config.seal_rows), (5, 5_000));
        assert!(parse("seal: { rows: 0 }").is_err());
    }

    #[test]
    fn an_object_store_is_an_s3_url() {
        for (text, is_wrong) in [
            ("", false),
            ("storage: { url: 's3://bucket/a/b' }", false),
            ("storage: { url: 'http://bucket' }", true),
            ("storage: { endpoint: 'http://127.0.0.1:8333' }", true),
        ] {
            assert_eq!(parse(text).unwrap().storage.problem().is_some(), is_wrong, "{text}");
        }
    }

    #[test]
    fn sampling_keeps_one_in_many() {
        let settings =
            parse("sampling: [{ service: shop/catalog, keep_one_in: 100, slow: 500ms }, { keep_one_in: 10 }]");
        let rules = settings.unwrap().engine().sampling;
        assert_eq!((rules[0].service.as_deref(), rules[0].keep_one_in.get()), (Some("shop/catalog"), 100));
        assert_eq!(rules[0].slow.unwrap().as_millis(), 500);
        assert_eq!((&rules[1].service, rules[1].keep_one_in.get()), (&None, 10));
        assert!(parse("sampling: [{ keep_one_in: 0 }]").is_err());
    }
}
