//! Rollups: every request counted per second, minute and hour, with histograms that merge exactly.
//!
//! Pure computation over Arrow: no files, no clock, no SQL engine. `requests` go in; deltas of the tables `traffic_1s`,
//! `traffic_1m`, `traffic_1h` and `policy_traffic_1m` come out. A key may be spread over several deltas: readers sum.

mod aggregator;
mod cell;
mod emit;
mod error;
mod histogram;
mod interval;
mod key;
mod merge;
mod names;
mod policy;
mod rows;
mod sampler;
mod status;
mod tables;
mod traffic;
mod uses;

pub use aggregator::{Aggregator, Limits, Status, Taken};
pub use error::RollupError;
pub use histogram::{
    Histogram, HistogramAccumulator, HistogramArrays, HistogramColumns, HistogramError, HistogramView, LE_BOUNDS_MS,
    QUANTILE_ERROR_MAX, bucket_index, bucket_upper_us,
};
pub use interval::Folded;
pub use merge::{merge_policy_traffic, merge_traffic};
pub use names::OTHER_NAME;
pub use sampler::{Sampler, SamplingRule};
pub use tables::{
    ColumnDoc, POLICY_TRAFFIC_COLUMNS, POLICY_TRAFFIC_SORT, TRAFFIC_COLUMNS, TRAFFIC_SORT, Table,
    policy_traffic_schema, traffic_schema,
};
pub use uses::{PolicyUse, PolicyUses};
