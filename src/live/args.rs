//! The arguments of these commands.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use tollgate_config::DurationText;

use crate::cli::EngineArgs;
use crate::output::Format;

#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    /// Only requests for which this is true, such as `status >= 500`
    #[arg(long = "where", value_name = "SQL")]
    pub(super) filter: Option<String>,
    /// What is shown of each, such as `time, path, duration_us / 1000 AS ms`; in JSON by default everything
    #[arg(long, value_name = "SQL")]
    pub(super) columns: Option<String>,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<NonZeroU64>,
    /// `table` prints a line a request, `json` an object a line
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// Only rows for which this is true, such as `requests_per_second > 10`
    #[arg(long = "where", value_name = "SQL")]
    pub(super) filter: Option<String>,
    /// Most rows; on a terminal by default as many as fit
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<NonZeroU64>,
    /// How often it is drawn again; without this every second on a terminal, and elsewhere only once
    #[arg(long, value_name = "DURATION", conflicts_with = "once")]
    every: Option<DurationText>,
    /// Print it once, also on a terminal
    #[arg(long)]
    once: bool,
    /// How rows are printed; JSON is an array a line
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// Faster than this nothing in the views changes.
const EVERY_MIN: Duration = Duration::from_millis(100);

impl ViewArgs {
    /// How often, if more than once.
    pub(super) fn rhythm(&self, is_terminal: bool) -> Option<Duration> {
        match (&self.every, self.once) {
            (_, true) => None,
            (Some(every), _) => Some(every.0.max(EVERY_MIN)),
            (None, _) => (is_terminal && self.output == Format::Table).then_some(Duration::from_secs(1)),
        }
    }
}
