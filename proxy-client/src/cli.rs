//! The command line of `tollgate-proxy`, which `tollgate proxy` shares.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::config::ProxyConfig;
use crate::proxy::Proxy;

/// Stand in front of a service, beside it or at the edge: decide requests, forward them, and report them.
#[derive(Debug, clap::Args)]
pub struct ProxyArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "proxy.yaml")]
    config: PathBuf,
    /// Check the configuration, print the effective one with all defaults, and exit.
    #[arg(long)]
    check: bool,
    /// Write the addresses that are really listened on to this file, as JSON, once connections are taken.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// End when standard input closes, so that no proxy outlives whoever started it, even one that was killed.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Does what the arguments say, until SIGTERM or Ctrl-C. Blocks the thread.
///
/// # Errors
/// What is wrong with the configuration, or why the proxy cannot run, to be printed as it is.
pub fn run(args: &ProxyArgs) -> anyhow::Result<()> {
    let config = ProxyConfig::load(&args.config)?;
    if args.check {
        return match writeln!(std::io::stdout(), "{:#}", config.effective()) {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        };
    }
    let proxy = Proxy::start(config, asked_to_end(args.until_stdin_closes.then(stdin_closed)))?;
    if let Some(file) = &args.ready_file {
        write_whole(file, &serde_json::to_vec(proxy.addresses())?)?;
    }
    proxy.join()
}

/// Resolves at SIGTERM, Ctrl-C, or when standard input has closed where that counts.
async fn asked_to_end(stdin: Option<oneshot::Receiver<()>>) {
    let stdin = async {
        match stdin {
            Some(closed) => drop(closed.await),
            None => std::future::pending().await,
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be waited for: only SIGKILL will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stdin => {}
    }
}

/// Resolves when standard input has ended. A thread of its own reads it, because a blocked read cannot be cancelled.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, watched) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    watched
}

/// Writes beside the file and renames, so that whoever waits for the file never reads half of it.
fn write_whole(file: &Path, text: &[u8]) -> anyhow::Result<()> {
    let part = file.with_extension("part");
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file));
    written.with_context(|| format!("`{}` cannot be written", file.display()))
}
