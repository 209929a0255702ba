//! An explanation as people read it.

use std::fmt;

use super::seen::{NOT_EVALUATED, Seen};
use super::{Explanation, PolicyExplanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judgement = &self.judgement;
        writeln!(f, "{}", self.request)?;
        write!(f, "{}: {}", judgement.decision, judgement.reason)?;
        if !judgement.policies.is_empty() {
            write!(f, " by {}", judgement.policies.join(", "))?;
        }
        match self.snapshot {
            Some(snapshot) => writeln!(f, ", as of snapshot {snapshot}")?,
            None => writeln!(f)?,
        }
        if !judgement.limits.is_empty() {
            writeln!(f, "shaped by {}", judgement.limits.join(", "))?;
        }
        if !judgement.shadow.is_empty() {
            writeln!(f, "only observed, would have refused: {}", judgement.shadow.join(", "))?;
        }
        if let Some(nearest) = &self.nearest {
            writeln!(f, "\nthe nearest permit is {} ({}), which lacks", nearest.id, nearest.origin)?;
            for missing in &nearest.lacks {
                writeln!(f, "  {}\n      {}", missing.needs, missing.found)?;
            }
        }
        for policy in &self.considered {
            writeln!(f)?;
            write!(f, "{policy}")?;
        }
        match self.out_of_scope {
            0 => Ok(()),
            1 => writeln!(f, "\n1 more policy is about other requests"),
            number => writeln!(f, "\n{number} more policies are about other requests"),
        }
    }
}

impl fmt::Display for PolicyExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.matches.as_str() {
            "true" => "matches".to_owned(),
            "false" => "does not match".to_owned(),
            error => format!("failed: {error}"),
        };
        let shadow = if self.shadow { ", in shadow mode" } else { "" };
        let template = self.template.as_ref().map(|template| format!(", a link of {template}")).unwrap_or_default();
        writeln!(f, "{} {} ({}{template}{shadow}) {outcome}", self.effect, self.id, self.origin)?;
        for part in &self.scope {
            writeln!(f, "  {}: {}", part.text, if part.is_met { "true" } else { "false" })?;
        }
        for condition in &self.conditions {
            write!(f, "  {} ", condition.clause)?;
            seen(f, &condition.seen, 4)?;
        }
        Ok(())
    }
}

/// A part and its value on one line, then what it is made of, further in.
fn seen(f: &mut fmt::Formatter<'_>, part: &Seen, indent: usize) -> fmt::Result {
    if part.value == NOT_EVALUATED || part.parts.is_empty() {
        write!(f, "{}: {}", part.text, part.value)?;
        let reads = part.reads.iter().map(|read| match &read.value {
            Some(value) => format!("{} is {value}", read.text),
            None => format!("{} is absent", read.text),
        });
        let reads: Vec<_> = reads.collect();
        return if reads.is_empty() { writeln!(f) } else { writeln!(f, " ({})", reads.join(", ")) };
    }
    let word = match part.join {
        "all" => "all of",
        "any" => "any of",
        "if" => "if, then, else",
        join => join,
    };
    writeln!(f, "{word}: {}", part.value)?;
    for child in &part.parts {
        write!(f, "{:indent$}", "")?;
        seen(f, child, indent + 2)?;
    }
    Ok(())
}
