//! Logs go to standard error; `TOLLGATE_LOG` chooses what, in the syntax of `tracing_subscriber::EnvFilter`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging at `default` unless the environment says otherwise.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// As [`start`], into a file, for a command whose terminal shows something else.
pub(crate) fn start_in_file(default: &str, file: &std::path::Path) -> std::io::Result<()> {
    let filter = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = std::fs::File::create(file)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::sync::Mutex::new(log)).with_ansi(false).init();
    Ok(())
}
