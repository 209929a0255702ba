//! `tollgate`, the command line: composes engine, adapters and proxy.

mod cli;
mod client;
mod config;
mod credentials;
mod demo;
mod live;
mod logging;
mod output;
mod policy;
mod proxy;
mod serve;
mod shutdown;
mod sql;
mod storage;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli.credentials.install();
    let result = match cli.command {
        cli::Command::Serve(args) => serve::run(&args),
        cli::Command::Proxy(args) => proxy::run(&args),
        cli::Command::Demo(args) => demo::run(&args),
        cli::Command::Sql(args) => sql::run(&args),
        cli::Command::Tap(args) => live::tap(&args),
        cli::Command::Stat(args) => live::view(&live::View::STAT, &args),
        cli::Command::Top(args) => live::view(&live::View::TOP, &args),
        cli::Command::Edges(args) => live::view(&live::View::EDGES, &args),
        cli::Command::Storage(args) => storage::run(&args),
        cli::Command::Policy(args) => policy::run(&args),
        cli::Command::Config(args) => config::print(&args),
        cli::Command::Completions(args) => cli::completions(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A reader that went away, as in `tollgate sql … | head`, is no error.
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("tollgate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
