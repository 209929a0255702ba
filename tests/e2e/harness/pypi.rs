//! Peers from PyPI, where `tests/setup.sh` puts them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program of the environment of the peers.
pub(crate) fn program(name: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".cache/tollgate/peers/bin").join(name)
}

/// Runs a client of `tests/e2e/clients`, which has to say `ok`.
pub(crate) async fn client(script: &'static str, arguments: Vec<String>) {
    let run = move || -> Output {
        let python = program("python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients").join(script);
        let output =
            Command::new(&python).args(["-W", "ignore"]).arg(script).args(arguments).stdin(Stdio::null()).output();
        output.unwrap_or_else(|error| panic!("`{}`: {error}; install the peers with tests/setup.sh", python.display()))
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stdout).trim_end(), "ok", "{script}:\n{}", text(&output.stderr));
}
