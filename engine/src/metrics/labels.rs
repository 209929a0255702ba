//! Labels of the metrics. Their values come from closed sets: what arrives from outside cannot make new series.

use prometheus_client::encoding::EncodeLabelSet;

/// How a run of a signal file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalOutcome {
    /// Its signals are up to date.
    Ok,
    /// The query failed, or gave what no signal can be.
    Error,
    /// It took too long.
    Timeout,
}

impl SignalOutcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabel {
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TableLabel {
    pub(super) table: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabel {
    pub(super) state: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ExportLabels {
    pub(super) to: &'static str,
    pub(super) signal: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    reason: &'static str,
}

impl ReasonLabel {
    pub(super) fn of_loss(reason: &str) -> Self {
        let known = ["buffer_full", "rejected", "encode"].into_iter().find(|known| *known == reason);
        Self { reason: known.unwrap_or("other") }
    }
}
