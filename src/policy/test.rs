//! `tollgate policy test DIR`: the tests of a directory.

use std::fmt::Write as _;

use tollgate_policies::Sources;
use tollgate_policies::tools::{ConditionCoverage, Coverage, Judge, TestReport, run_cases, run_cedar_tests};

use super::args::TestArgs;
use super::said::{count, print};

/// Runs the command.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let loaded = super::load(&args.dir)?;
    let tests = Sources::read_tests(&args.dir)?;
    anyhow::ensure!(!tests.is_empty(), "there are no tests in `{}`", args.dir.join("tests").display());
    let (yaml, json): (Vec<_>, Vec<_>) = tests.into_iter().partition(|file| file.path.ends_with(".yaml"));
    let judge = Judge::new(&loaded.compiled).map_err(anyhow::Error::msg)?;
    let mut report = run_cases(&judge, &yaml, args.coverage)?;
    report.add(run_cedar_tests(&loaded.compiled, &json)?);
    print(&args.output, &report, || text(&report))?;
    anyhow::ensure!(report.failed == 0, "{} failed", count(report.failed, "test", "tests"));
    Ok(())
}

fn text(report: &TestReport) -> String {
    let mut text = String::new();
    for case in report.cases.iter().filter(|case| !case.problems.is_empty()) {
        let line = if case.line > 0 { format!(":{}", case.line) } else { String::new() };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}{line}: {}\n    {}", case.file, case.name, case.request);
        case.problems.iter().for_each(|problem| {
            let _ = writeln!(text, "    {problem}");
        });
    }
    let _ = writeln!(text, "{} passed, {} failed", report.passed, report.failed);
    if let Some(coverage) = &report.coverage {
        text.push_str(&covered(coverage));
    }
    text
}

fn covered(coverage: &Coverage) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{} of {} matched, {} of {} outcomes of conditions seen",
        coverage.policies_matched,
        count(coverage.policies.len(), "policy", "policies"),
        coverage.outcomes_seen,
        coverage.outcomes
    );
    for policy in &coverage.policies {
        if policy.matched == 0 {
            let _ = writeln!(text, "{} ({}): never matched", policy.id, policy.origin);
        }
        for clause in &policy.clauses {
            unseen(&clause.condition, &format!("{} {}, line {}", policy.id, clause.clause, clause.line), &mut text);
        }
    }
    text
}

fn unseen(condition: &ConditionCoverage, place: &str, text: &mut String) {
    let missing = match (condition.seen_true, condition.seen_false) {
        (true, true) => None,
        (true, false) => Some("never false"),
        (false, true) => Some("never true"),
        (false, false) => Some("never evaluated"),
    };
    if let Some(missing) = missing {
        let _ = writeln!(text, "{place}: {missing}: {}", condition.text);
    }
    // What was never evaluated has no part that was.
    if condition.seen_true || condition.seen_false {
        condition.parts.iter().for_each(|part| unseen(part, place, text));
    }
}
