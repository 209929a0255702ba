//! `tollgate policy diff OLD NEW`: what changes by meaning.

use std::fmt::Write as _;

use tollgate_policies::tools::{Diff, diff};

use super::args::DiffArgs;
use super::said::{count, print};

/// Runs the command.
pub(super) fn run(args: &DiffArgs) -> anyhow::Result<()> {
    let (old, new) = (super::load(&args.old)?, super::load(&args.new)?);
    let found = diff(&old.compiled, &new.compiled).map_err(anyhow::Error::msg)?;
    print(&args.output, &found, || text(&found))?;
    anyhow::ensure!(found.is_empty(), "the policies differ");
    Ok(())
}

fn text(diff: &Diff) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    for policy in &diff.added {
        let _ = writeln!(text, "+ {} ({})", policy.id, policy.origin);
    }
    for policy in &diff.removed {
        let _ = writeln!(text, "- {} ({})", policy.id, policy.origin);
    }
    for policy in &diff.changed {
        let _ = writeln!(text, "~ {} ({})", policy.id, policy.origin);
        for change in &policy.changes {
            let said = |said: &str| if said.is_empty() { "nothing".to_owned() } else { said.to_owned() };
            let _ = writeln!(text, "    {}: {} -> {}", change.part, said(&change.old), said(&change.new));
        }
    }
    for (old, new) in &diff.renamed {
        let _ = writeln!(text, "= {old} is now called {new}");
    }
    if diff.entities {
        text.push_str("~ entities.json\n");
    }
    let _ = writeln!(text, "{} unchanged", count(diff.unchanged, "policy", "policies"));
    text
}
