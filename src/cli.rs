//! The arguments of every command.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tollgate_config::DurationText;
use tollgate_proxy_client::cli::ProxyArgs;

use crate::credentials::CredentialArgs;
use crate::live::{TapArgs, ViewArgs};
use crate::output::Format;
use crate::policy::PolicyArgs;

/// Telemetry and policy engine for the traffic between services.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the engine
    Serve(ServeArgs),
    /// Run a proxy in front of a service, beside it or both
    Proxy(ProxyArgs),
    /// Run engine, proxies and a small shop under load, and watch
    Demo(DemoArgs),
    /// Ask the engine in SQL; without a query, a shell
    Sql(SqlArgs),
    /// Watch requests as they come in, such as `tollgate tap --where "status >= 500"`
    Tap(TapArgs),
    /// Show each service over the last seconds: rate, success, durations
    Stat(ViewArgs),
    /// Show the busiest callers of the last minute
    Top(ViewArgs),
    /// Show who called whom in the last minute
    Edges(ViewArgs),
    /// See, check, compact and copy what the engine keeps
    Storage(StorageArgs),
    /// Work on policies
    Policy(PolicyArgs),
    /// Print the effective configuration of the engine
    Config(ConfigArgs),
    /// Print a shell completion script
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file
    #[arg(short, long, default_value = "tollgate.yaml")]
    pub(crate) config: PathBuf,
    /// Write the addresses that are listened on to this file, as JSON, once ready
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End after this long with a summary, such as `30s`; otherwise run until Ctrl-C
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) for_: Option<DurationText>,
    /// Where the demo keeps everything that it writes
    #[arg(long, value_name = "DIR", default_value = "tollgate-demo")]
    pub(crate) data: PathBuf,
    /// Policies to use; by default a copy of the starter policies in the data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Where the engine listens for HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    pub(crate) http: SocketAddr,
    /// Where the engine listens for gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7401")]
    pub(crate) grpc: SocketAddr,
    /// Where the engine listens for PostgreSQL clients
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7432")]
    pub(crate) postgres: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Where the engine listens for HTTP
    #[arg(long, value_name = "URL", env = "TOLLGATE_ENGINE", default_value = "http://127.0.0.1:7400")]
    pub(crate) engine: String,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; without it a shell opens
    pub(crate) query: Option<String>,
    /// How rows are printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    #[command(subcommand)]
    pub(crate) command: StorageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Say what is kept, of a running engine or in a data directory
    Status(StorageStatusArgs),
    /// Read every sealed file and the log, and name what is damaged; exit code 1 when something is. Changes nothing; the engine may run
    Verify(StorageDirArgs),
    /// Seal what is in the log and rewrite small files as large ones
    Compact(StorageDirArgs),
    /// Copy rows of a table into Parquet, CSV or JSON files
    Export(StorageExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StorageDirArgs {
    /// Configuration file, which says where the data are; its defaults hold where there is none
    #[arg(short, long, default_value = "tollgate.yaml")]
    pub(crate) config: PathBuf,
    /// Data directory, instead of the one that the configuration names
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct StorageStatusArgs {
    #[command(flatten)]
    pub(crate) dir: StorageDirArgs,
    /// Where the engine listens for HTTP, if not where the configuration says
    #[arg(long, value_name = "URL", env = "TOLLGATE_ENGINE")]
    pub(crate) engine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StorageExportArgs {
    #[command(flatten)]
    pub(crate) dir: StorageDirArgs,
    /// The table
    #[arg(long, default_value = "requests")]
    pub(crate) table: String,
    /// Only rows from this time on, such as `2026-03-01T00:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only rows before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// `parquet`, `csv` or `jsonl`
    #[arg(long, default_value = "parquet")]
    pub(crate) format: String,
    /// Where the files go; nothing there is replaced
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file
    #[arg(short, long, default_value = "tollgate.yaml")]
    pub(crate) config: PathBuf,
    /// `table` prints YAML
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollgate", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
