//! `tollgate policy check DIR`: everything that the engine checks, and what is probably not meant.

use anyhow::Context as _;
use serde_json::json;
use tollgate_policies::tools::lint;
use tollgate_policies::{Mode, Sources};

use super::args::CheckArgs;
use super::said::{count, print};

/// Runs the command.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let report = match tollgate_engine::check_policies(&args.dir, &Mode::default()) {
        Ok(report) => report,
        Err(problems) => {
            let json = json!({ "ok": false, "diagnostics": problems.0 });
            print(&args.output, &json, || format!("{problems}\n"))?;
            anyhow::bail!("refused: {}", count(problems.0.len(), "problem", "problems"));
        }
    };
    let mut warnings = report.compiled.warnings.0.clone();
    warnings.extend(lint(&report.sources, &report.compiled).0);
    warnings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    let policies = &report.compiled.policies;
    let ids: Vec<_> = policies.iter().map(|policy| policy.id.as_ref()).collect();
    let json = json!({ "ok": true, "policies": ids, "diagnostics": warnings });
    print(&args.output, &json, || {
        let mut text: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
        let number = count(policies.len(), "policy", "policies");
        let warnings = count(warnings.len(), "warning", "warnings");
        text.push_str(&format!("{}: {number}, {warnings}\n", args.dir.display()));
        text
    })?;
    if !args.no_schema {
        let written = Sources::write_schema(&args.dir, &report.compiled.schema_json);
        written.context("cannot write the schema for editors: `--no-schema` leaves it out")?;
    }
    Ok(())
}
