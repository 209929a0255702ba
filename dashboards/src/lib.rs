//! Grafana dashboards, alert rules and provisioning, generated. Run `cargo run -p tollgate-dashboards` to write them.
//!
//! [`files()`] is everything that is committed below `dashboards/grafana` and `dashboards/prometheus`; [`targets()`] is every query in it, which a test can run after
//! [`macros`] has made of it what Grafana would send.

mod alerts;
mod boards;
mod files;
pub mod macros;
mod model;
mod provisioning;
mod rules;
mod targets;

pub use self::boards::boards;
pub use self::files::{File, files};
pub use self::model::{Board, Format, Kind, Language, Panel, Query, Variable, VariableKind};
pub use self::targets::{Place, Target, targets};
