//! `proxy.yaml` as it is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tollgate_config::{ByteSize, DurationText};

/// How the caller of an inbound request is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// It is not: every caller is anonymous, and `x-tollgate-source` is stripped.
    #[default]
    None,
    /// `x-tollgate-source` is believed. Insecure: whoever reaches the port may call himself anything.
    Header,
}

/// What happens to requests before the first snapshot has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutSnapshot {
    /// 503 with `Retry-After`.
    #[default]
    Deny,
    /// They pass, with `no_snapshot` as the reason in their rows.
    Allow,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "default_engine")]
    pub(super) engine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) engine_tls: Option<RawEngineTls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) engine_token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) identity: Identity,
    #[serde(default)]
    pub(super) insecure: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inbound: Option<RawInbound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outbound: Option<RawListen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<RawListen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<RawListen>,
    #[serde(default)]
    pub(super) services: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) routes: Vec<String>,
    #[serde(default)]
    pub(super) headers: Vec<String>,
    #[serde(default = "default_true")]
    pub(super) problem_body: bool,
    #[serde(default)]
    pub(super) without_snapshot: WithoutSnapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<usize>,
    #[serde(default = "default_connections_max")]
    pub(super) connections_max: usize,
    #[serde(default)]
    pub(super) buffers: RawBuffers,
    #[serde(default)]
    pub(super) timeouts: RawTimeouts,
}

/// Files in PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawEngineTls {
    pub(super) ca: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_name: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawInbound {
    pub(super) listen: SocketAddr,
    pub(super) forward: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawListen {
    pub(super) listen: SocketAddr,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RawBuffers {
    pub(super) batch_rows: usize,
    pub(super) batch_age: DurationText,
    pub(super) bytes: ByteSize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RawTimeouts {
    pub(super) connect: DurationText,
    pub(super) upstream: DurationText,
    pub(super) idle: DurationText,
    pub(super) shutdown: DurationText,
}

impl Default for RawBuffers {
    fn default() -> Self {
        Self { batch_rows: 8_192, batch_age: millis(100), bytes: ByteSize(64 << 20) }
    }
}

impl Default for RawTimeouts {
    fn default() -> Self {
        Self { connect: millis(1_000), upstream: millis(30_000), idle: millis(60_000), shutdown: millis(10_000) }
    }
}

fn millis(millis: u64) -> DurationText {
    DurationText(std::time::Duration::from_millis(millis))
}

fn default_engine() -> String {
    "http://127.0.0.1:7401".to_owned()
}

fn default_true() -> bool {
    true
}

fn default_connections_max() -> usize {
    10_000
}
