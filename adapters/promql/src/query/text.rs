//! What has to be known of a query's text before the parser sees it, which recurses and takes any number for a duration.

use crate::error::Error;

/// Brackets within brackets that a query may have.
const NESTING_MAX: usize = 100;
/// Operators that a query may have.
const OPERATORS_MAX: usize = 250;

/// Bounds the depth of the tree that the parser will build, and looks at the durations.
pub(super) fn check(text: &str) -> Result<(), Error> {
    let bare = without_quotes(text);
    check_nesting(&bare)?;
    check_operators(&bare)?;
    check_durations(&bare)
}

/// The text with blanks for what is in quotes or comments.
fn without_quotes(text: &str) -> String {
    let (mut quote, mut is_escaped) = (None, false);
    let blank = |c: char| {
        let is_quoted = quote.is_some();
        match (quote, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some('"' | '\''), '\\') => is_escaped = true,
            (Some('#'), '\n') => quote = None,
            (Some(open), _) if open == c && open != '#' => quote = None,
            (None, '"' | '\'' | '`' | '#') => quote = Some(c),
            _ => {}
        }
        if is_quoted || quote.is_some() { ' ' } else { c }
    };
    text.chars().map(blank).collect()
}

fn check_nesting(bare: &str) -> Result<(), Error> {
    let mut nesting = 0_usize;
    for c in bare.chars() {
        match c {
            '(' | '[' | '{' => nesting += 1,
            ')' | ']' | '}' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        if nesting > NESTING_MAX {
            return Err(Error::BadData(format!("the query has more than {NESTING_MAX} brackets within brackets")));
        }
    }
    Ok(())
}

fn check_operators(bare: &str) -> Result<(), Error> {
    let signs = bare.chars().filter(|c| "+-*/%^<>=!".contains(*c)).count();
    let is_operator =
        |word: &&str| ["and", "or", "unless", "atan2"].iter().any(|known| word.eq_ignore_ascii_case(known));
    let words = bare.split(|c: char| !c.is_alphanumeric() && c != '_').filter(is_operator).count();
    if signs + words > OPERATORS_MAX {
        return Err(Error::BadData(format!("the query has more than {OPERATORS_MAX} operators")));
    }
    Ok(())
}

/// `promql-parser` 0.11 panics at `a[1e30]`: it takes numbers without a unit for seconds, whatever their size.
fn check_durations(bare: &str) -> Result<(), Error> {
    let ranges = bare.split('[').skip(1).filter_map(|tail| tail.split(']').next());
    for duration in ranges.flat_map(|range| range.split(':')).map(str::trim).filter(|duration| !duration.is_empty()) {
        check_duration(duration)?;
    }
    let lower = bare.to_ascii_lowercase();
    for (at, word) in lower.match_indices("offset") {
        let is_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let tail = &lower[at + word.len()..];
        if is_name(lower[..at].chars().next_back()) || is_name(tail.chars().next()) {
            continue;
        }
        let tail = tail.trim_start().trim_start_matches(['+', '-']).trim_start();
        let end = tail.find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').unwrap_or(tail.len());
        if end > 0 {
            check_duration(&tail[..end])?;
        }
    }
    Ok(())
}

fn check_duration(text: &str) -> Result<(), Error> {
    let starts = text.starts_with(|c: char| c.is_ascii_digit());
    let ends = text.ends_with(|c: char| c.is_ascii_alphabetic());
    if starts && ends && text.chars().all(|c| c.is_ascii_digit() || "smhdwy".contains(c)) {
        return Ok(());
    }
    let short: String = text.chars().take(40).collect();
    Err(Error::BadData(format!("not a valid duration: `{short}`; write one such as `5m`")))
}
