//! Formats Cedar text, keeping comments and annotations.

use cedar_policy::{Policy, Template};
use cedar_policy_formatter::{Config, policies_str_to_pretty};

use crate::cedar::{self, Site};
use crate::diagnostics::{Diagnostics, Severity};
use crate::links::is_template;
use crate::text::{self, with_deep_stack};

const LINE_WIDTH: usize = 100;
const INDENT_WIDTH: isize = 2;
/// Stands in a comment of a file that is left alone, as in Cedar's editor extension.
const OFF: &str = "@formatter:off";

/// Text that cannot be formatted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is not Cedar.
    #[error("{0}")]
    Syntax(Diagnostics),
}

/// Formats a file of policies. What is formatted already comes back as it was.
///
/// Paragraphs of comments between policies stay apart, and a file whose first comment holds `@formatter:off` is left alone.
///
/// # Errors
/// Every syntax error, with its place.
pub fn format(file: &str, text: &str) -> Result<String, FormatError> {
    with_deep_stack(|| format_all(file, text))
}

fn format_all(file: &str, text: &str) -> Result<String, FormatError> {
    if is_off(text) {
        return Ok(text.to_owned());
    }
    let mut problems = Diagnostics::default();
    let mut formatted = String::new();
    let mut at = 0;
    for range in text::statements(text) {
        let site = Site { file, text, start: range.start, link: None };
        let end = with_comment_behind(text, range.end);
        match statement(&text[range.start..end], site) {
            Ok(statement) => {
                comments(&text[at..range.start], &mut formatted);
                formatted.push_str(statement.trim_end());
                formatted.push('\n');
            }
            Err(found) => problems.0.extend(found.0),
        }
        at = end;
    }
    comments(&text[at..], &mut formatted);
    let formatted = formatted.trim_end().to_owned();
    if problems.has_errors() {
        return Err(FormatError::Syntax(problems));
    }
    Ok(if formatted.is_empty() { formatted } else { formatted + "\n" })
}

fn is_off(text: &str) -> bool {
    let comments = text.lines().map(str::trim).take_while(|line| line.is_empty() || line.starts_with("//"));
    comments.into_iter().any(|line| line.contains(OFF))
}

/// A comment on the line where a policy ends belongs to it.
fn with_comment_behind(text: &str, end: usize) -> usize {
    let rest = &text[end..];
    let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
    if line.trim_start().starts_with("//") { end + line.trim_end().len() } else { end }
}

/// Comments as they are, with at most one empty line between them, and one before them.
fn comments(text: &str, formatted: &mut String) {
    let mut is_apart = !formatted.is_empty();
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            is_apart |= !formatted.is_empty();
        } else {
            if std::mem::take(&mut is_apart) {
                formatted.push('\n');
            }
            formatted.push_str(line);
            formatted.push('\n');
        }
    }
    if is_apart {
        formatted.push('\n');
    }
}

fn statement(text: &str, site: Site<'_>) -> Result<String, Diagnostics> {
    let refused = |message: String| Diagnostics(vec![site.diagnostic(Severity::Error, "TG0109", 0, message)]);
    if let Some(message) = text::too_deep(text) {
        return Err(refused(message));
    }
    let parsed = if is_template(text) { Template::parse(None, text).err() } else { Policy::parse(None, text).err() };
    if let Some(errors) = parsed {
        return Err(Diagnostics(cedar::syntax(&errors, site)));
    }
    let config = Config { line_width: LINE_WIDTH, indent_width: INDENT_WIDTH };
    let pretty = |text: &str| {
        let unformatted = |error: miette::Report| {
            let message = format!("the formatter gave up: {error}");
            Diagnostics(vec![site.diagnostic(Severity::Error, "TG0114", 0, message)])
        };
        policies_str_to_pretty(text, &config).map_err(unformatted)
    };
    // Cedar's formatter moves some comments only the second time; what it has settled on it leaves alone.
    let mut formatted = pretty(text)?;
    for _ in 0..3 {
        let again = pretty(&formatted)?;
        if again == formatted {
            break;
        }
        formatted = again;
    }
    Ok(formatted)
}
