//! `tollgate policy`: work on directories of policies.

mod args;
mod check;
mod diff;
mod explain;
mod fmt;
mod replay;
mod said;
mod suggest;
mod test;
mod traffic;

pub(crate) use args::PolicyArgs;

use std::path::Path;

use tollgate_engine::PolicyReport;
use tollgate_policies::Mode;

use args::PolicyCommand;

/// Runs the command.
pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<()> {
    match &args.command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Fmt(args) => fmt::run(args),
        PolicyCommand::Test(args) => test::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::Diff(args) => diff::run(args),
        PolicyCommand::Replay(args) => replay::run(args),
        PolicyCommand::Suggest(args) => suggest::run(args),
    }
}

/// A directory that is right: the same code as the engine's watcher.
fn load(dir: &Path) -> anyhow::Result<PolicyReport> {
    tollgate_engine::check_policies(dir, &Mode::default())
        .map_err(|problems| anyhow::anyhow!("`{}` is refused:\n{problems}", dir.display()))
}
