//! `tollgate proxy`: the same code as the binary `tollgate-proxy`.

use tollgate_proxy_client::cli::{self, ProxyArgs};

use crate::logging;

/// Runs the command.
pub(crate) fn run(args: &ProxyArgs) -> anyhow::Result<()> {
    logging::start("info");
    cli::run(args)
}
