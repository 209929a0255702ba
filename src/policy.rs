//! `tollgate policy`: work on a directory of policies without an engine.

use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;
use tollgate_policies::{Diagnostics, Mode};

use crate::cli::{PolicyArgs, PolicyCheckArgs, PolicyCommand};
use crate::output::Format;

/// Runs the command.
pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<()> {
    match &args.command {
        PolicyCommand::Check(args) => check(args),
    }
}

/// `tollgate policy check DIR`: the same code as the engine's watcher.
fn check(args: &PolicyCheckArgs) -> anyhow::Result<()> {
    let checked = tollgate_engine::check_policies(&args.dir, &Mode::default());
    match args.output {
        Format::Json => print_json(&checked)?,
        Format::Table => print_text(&args.dir, &checked),
        Format::Csv => anyhow::bail!("`policy check` prints `table` or `json`"),
    }
    match checked {
        Ok(_) => Ok(()),
        Err(diagnostics) => anyhow::bail!("refused: {}", count(diagnostics.0.len(), "problem")),
    }
}

fn print_text(dir: &Path, checked: &Result<tollgate_engine::PolicyReport, Diagnostics>) {
    match checked {
        Ok(report) => {
            for warning in &report.warnings.0 {
                println!("{warning}");
            }
            println!(
                "{}: {} policies, {}",
                dir.display(),
                report.policies.len(),
                count(report.warnings.0.len(), "warning")
            );
        }
        Err(diagnostics) => println!("{diagnostics}"),
    }
}

fn print_json(checked: &Result<tollgate_engine::PolicyReport, Diagnostics>) -> anyhow::Result<()> {
    let json = match checked {
        Ok(report) => {
            let ids: Vec<_> = report.policies.iter().map(|policy| policy.id.as_ref()).collect();
            json!({ "ok": true, "policies": ids, "diagnostics": report.warnings.0 })
        }
        Err(diagnostics) => json!({ "ok": false, "diagnostics": diagnostics.0 }),
    };
    Ok(writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&json)?)?)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
