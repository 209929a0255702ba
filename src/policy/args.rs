//! The arguments of `tollgate policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tollgate_config::DurationText;

use crate::cli::EngineArgs;
use crate::output::Format;

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(super) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a directory of policies as the engine would; exit code 1 when it would be refused
    Check(CheckArgs),
    /// Format policies; comments and annotations stay
    Fmt(FmtArgs),
    /// Run the tests of a directory
    Test(TestArgs),
    /// Say why a request is decided as it is
    Explain(ExplainArgs),
    /// Compare two directories by what their policies say; exit code 1 when they differ
    Diff(DiffArgs),
    /// Decide recorded requests by other policies
    Replay(ReplayArgs),
    /// Suggest policies that permit what was seen and little else
    Suggest(SuggestArgs),
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Directory with `access/`, `shaping/`, `signals/` and `entities.json`
    pub(super) dir: PathBuf,
    /// Do not write the schema that editors complete names from
    #[arg(long)]
    pub(super) no_schema: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct FmtArgs {
    /// Directory of policies, or single files
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// Change nothing; exit code 1 when a file would change
    #[arg(long)]
    pub(super) check: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Directory of policies, with `tests/`
    pub(super) dir: PathBuf,
    /// Say what the tests have not tried
    #[arg(long)]
    pub(super) coverage: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Directory of policies
    pub(super) dir: PathBuf,
    /// Id of a recorded request, or a request as JSON; `-` reads JSON from the standard input
    pub(super) request: String,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Directory of policies as they were
    pub(super) old: PathBuf,
    /// Directory of policies as they are
    pub(super) new: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct WindowArgs {
    /// How far back, such as `24h`
    #[arg(long, value_name = "DURATION")]
    pub(super) since: DurationText,
    /// A condition in SQL on the table `requests`
    #[arg(long = "where", value_name = "SQL")]
    pub(super) filter: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Directory of the policies to try
    #[arg(long, value_name = "DIR")]
    pub(super) policies: PathBuf,
    /// Directory of policies to compare with; by default with what was decided at the time
    #[arg(long, value_name = "DIR")]
    pub(super) against: Option<PathBuf>,
    /// Also simulate how many requests limits would have refused, which tells requests of different seconds apart
    #[arg(long)]
    pub(super) simulate: bool,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(super) struct SuggestArgs {
    /// The called service, as `namespace/name`
    #[arg(long, value_name = "SERVICE")]
    pub(super) service: String,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}
