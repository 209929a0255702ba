//! `tollgate-proxy`: the proxy as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use tollgate_proxy_client::cli::{self, ProxyArgs};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "tollgate-proxy", version, about)]
struct Cli {
    #[command(flatten)]
    proxy: ProxyArgs,
}

fn main() -> ExitCode {
    let args = Cli::parse();
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::run(&args.proxy) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
