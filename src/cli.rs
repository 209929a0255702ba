//! The arguments of every command.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tollgate_config::DurationText;
use tollgate_proxy_client::cli::ProxyArgs;

use crate::output::Format;

/// Telemetry and policy engine for the traffic between services.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
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
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a directory of policies as the engine would; exit code 1 when it would be refused
    Check(PolicyCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// Directory with `access/`, `shaping/`, `signals/` and `entities.json`
    pub(crate) dir: PathBuf,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
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
