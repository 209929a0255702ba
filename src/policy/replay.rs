//! `tollgate policy replay`: what other policies would have decided about recorded requests.

use std::fmt::Write as _;

use tollgate_policies::tools::{Finding, Judge, Replay, columns, replay};

use super::args::ReplayArgs;
use super::said::print;
use super::traffic;

/// Findings that are printed for people; all are in JSON.
const SHOWN_MAX: usize = 50;

/// Runs the command.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let judge = |dir| -> anyhow::Result<Judge> { Judge::new(&super::load(dir)?.compiled).map_err(anyhow::Error::msg) };
    let new = judge(&args.policies)?;
    let old = args.against.as_deref().map(judge).transpose()?;
    let both: Vec<_> = old.iter().chain([&new]).collect();
    let needed = columns(&both);
    let combinations = traffic::combinations(&args.engine.engine, &needed, &args.window, args.simulate)?;
    let recorded = needed.recorded(traffic::recorded_headers(&combinations));
    let new = new.with_recorded(recorded.clone());
    let old = old.map(|old| old.with_recorded(recorded));
    let progress = traffic::progress(combinations.len());
    let replay = replay(old.as_ref(), &new, combinations, progress);
    print(&args.output, &replay, || text(&replay))
}

fn text(replay: &Replay) -> String {
    let mut text = String::new();
    for finding in replay.findings.iter().take(SHOWN_MAX) {
        text.push_str(&shown(finding));
    }
    let more = replay.findings.len().saturating_sub(SHOWN_MAX) + replay.findings_left_off;
    // Writing to a text cannot fail.
    if more > 0 {
        let _ = writeln!(text, ".. and {more} more: `-o json` has them all");
    }
    for limit in &replay.limits {
        let before = limit.refused_before.map(|before| format!(", {before} before")).unwrap_or_default();
        let _ =
            writeln!(text, "limit {}: {} of {} requests over it{before}", limit.policy, limit.refused, limit.requests);
    }
    let totals = &replay.totals;
    let _ = writeln!(text, "{} requests, {} distinct", totals.requests, totals.combinations);
    let numbers = [
        ("decided as before", totals.unchanged),
        ("newly denied", totals.newly_denied),
        ("newly allowed", totals.newly_allowed),
        ("newly limited", totals.newly_limited),
        ("no longer limited", totals.no_longer_limited),
        ("for another reason", totals.reason_changed),
        ("failed", totals.failed),
        ("not decidable", totals.undecidable),
        ("refused before any policy was asked", totals.skipped),
        ("decided otherwise at the time", totals.decided_otherwise),
    ];
    for (what, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        let _ = writeln!(text, "{number:>12} {what}");
    }
    text
}

fn shown(finding: &Finding) -> String {
    let kind =
        serde_json::to_value(finding.kind).ok().and_then(|kind| kind.as_str().map(|kind| kind.replace('_', " ")));
    let caller = if finding.source.is_empty() { "anonymous" } else { &finding.source };
    let mut text = format!("{}: {caller} -> {}", kind.unwrap_or_default(), finding.destination);
    if !finding.route.is_empty() {
        let _ = write!(text, " {}", finding.route);
    }
    let _ = write!(text, ": {} requests, {} -> {}", finding.requests, finding.old, finding.new);
    if !finding.policies.is_empty() {
        let _ = write!(text, " by {}", finding.policies.join(", "));
    }
    text.push('\n');
    for detail in &finding.detail {
        let _ = writeln!(text, "    {detail}");
    }
    if !finding.samples.is_empty() {
        let _ = writeln!(text, "    such as {}", finding.samples.join(", "));
    }
    text
}
