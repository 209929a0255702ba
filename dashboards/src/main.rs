//! Writes what is generated into `dashboards/grafana`, or into the directory that the argument names.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let committed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grafana");
    let directory = std::env::args_os().nth(1).map_or_else(committed, PathBuf::from);
    for file in tollgate_dashboards::files() {
        let path = directory.join(&file.path);
        let parent = path.parent().unwrap_or(&directory);
        if let Err(error) = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, &file.text)) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}
