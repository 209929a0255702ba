//! How these commands print.

use std::io::{self, Write as _};

use serde::Serialize;

use super::args::OutputArgs;
use crate::output::Format;

/// Prints JSON for programs, or what `text` makes for people.
pub(super) fn print(args: &OutputArgs, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(value)? + "\n",
        Format::Table => text(),
        Format::Csv => anyhow::bail!("`policy` commands print `table` or `json`"),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// `3 policies`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
