//! `tollgate policy fmt PATH..`: Cedar's own format.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use tollgate_policies::tools::{FormatError, format};

use super::args::FmtArgs;
use super::said::{count, print};

/// Runs the command.
pub(super) fn run(args: &FmtArgs) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &args.paths {
        files.extend(cedar_files(path)?);
    }
    let (mut changed, mut problems) = (Vec::new(), Vec::new());
    for file in &files {
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{shown}`"))?;
        match format(&shown, &text) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) => {
                if !args.check {
                    write(file, &formatted).with_context(|| format!("cannot write `{shown}`"))?;
                }
                changed.push(shown);
            }
            Err(FormatError::Syntax(found)) => problems.extend(found.0),
        }
    }
    let json = json!({ "files": files.len(), "changed": changed, "diagnostics": problems });
    print(&args.output, &json, || {
        let verb = if args.check { "would be formatted" } else { "formatted" };
        let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        text.extend(changed.iter().map(|file| format!("{file}: {verb}\n")));
        text.push_str(&format!("{}, {} {verb}\n", count(files.len(), "file", "files"), changed.len()));
        text
    })?;
    anyhow::ensure!(problems.is_empty(), "{} cannot be formatted", count(problems.len(), "policy", "policies"));
    anyhow::ensure!(!args.check || changed.is_empty(), "not formatted: run `tollgate policy fmt`");
    Ok(())
}

/// A file, or the policies of a directory.
fn cedar_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    anyhow::ensure!(path.is_dir(), "there is no `{}`", path.display());
    let mut files = Vec::new();
    for folder in ["access", "shaping"].map(|folder| path.join(folder)).iter().filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.path();
            let is_hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !is_hidden && file.extension().is_some_and(|extension| extension == "cedar") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whole or not at all: an engine may be watching.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let temporary = file.with_extension("cedar.tmp");
    std::fs::write(&temporary, text)?;
    std::fs::set_permissions(&temporary, std::fs::metadata(file)?.permissions())?;
    std::fs::rename(&temporary, file)
}
