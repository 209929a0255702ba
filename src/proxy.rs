//! `tollgate proxy`: the same code as the binary `tollgate-proxy`.

use tollgate_proxy_client::ProxyConfig;

use crate::cli::ProxyArgs;
use crate::{logging, shutdown};

/// Runs the command.
pub(crate) fn run(args: &ProxyArgs) -> anyhow::Result<()> {
    logging::start("info");
    let config = ProxyConfig::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let until_stdin_closes = args.until_stdin_closes;
    runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        if until_stdin_closes {
            let stop = stop.clone();
            tokio::spawn(async move {
                shutdown::stdin_closed().await;
                stop.cancel();
            });
        }
        tollgate_proxy_client::run_proxy(config, args.ready_file.clone(), stop).await
    })
}
