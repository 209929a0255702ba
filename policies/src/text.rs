//! Places in policy text, found without Cedar's parser: where a statement begins and ends, where an annotation or a word
//! stands. Knows Cedar's tokens and nothing of its grammar, so broken text is fine.

use std::ops::Range;

/// Deepest nesting of brackets in one policy, and most operators in one. Cedar's parser, its validator and even dropping
/// a parsed policy recurse, so that without a bound a small file could exhaust any stack.
const DEPTH_MAX: usize = 40;
const OPERATORS_MAX: usize = 300;
/// Stack that parsing and validating a policy within these bounds needs, several times over.
const STACK_BYTES: usize = 64 << 20;

/// Stack that suffices to evaluate any policy within these bounds, and that a thread of 2 MiB has left. A sum of 300 is the
/// worst and needs over 1.25 MiB, with what Cedar keeps free for itself; without optimisation its frames are ten times as large.
pub(crate) const EVALUATION_STACK_BYTES: usize = if cfg!(debug_assertions) { 24 << 20 } else { 1536 << 10 };

/// Runs what evaluates long policies on the path of a request: a new stack is mapped only where the thread's own has too
/// little left.
pub(crate) fn with_evaluation_stack<T>(act: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(EVALUATION_STACK_BYTES, 2 * EVALUATION_STACK_BYTES, act)
}

/// Runs what parses, validates or evaluates long policies, on a stack that suffices for it. Maps one each time.
pub(crate) fn with_deep_stack<T>(act: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, act)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Word,
    Text,
    Symbol(char),
}

/// Tokens with their byte ranges; space and comments are left out.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (Token, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at = skip_blank(text, at);
        let first = text[at..].chars().next()?;
        let start = at;
        let token = if first == '"' {
            at = end_of_text(text, start);
            Token::Text
        } else if is_word(first) {
            at = start + text[start..].find(|c| !is_word(c)).unwrap_or(text.len() - start);
            Token::Word
        } else {
            at = start + first.len_utf8();
            Token::Symbol(first)
        };
        Some((token, start..at))
    })
}

/// Byte ranges of the policies of a file, each from its first token to its `;`. What follows the last `;` is one too.
pub(crate) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for (token, range) in tokens(text) {
        let start = open.as_ref().map_or(range.start, |open| open.start);
        if token == Token::Symbol(';') {
            statements.push(start..range.end);
            open = None;
        } else {
            open = Some(start..range.end);
        }
    }
    statements.extend(open);
    statements
}

/// Whether a policy is too deep or too long to be parsed safely, in words for the user.
pub(crate) fn too_deep(statement: &str) -> Option<String> {
    let (deepest, operators) = nesting(statement);
    if deepest > DEPTH_MAX {
        Some(format!("brackets are nested {deepest} deep, at most {DEPTH_MAX} are allowed"))
    } else if operators > OPERATORS_MAX {
        Some(format!("one policy has {operators} operators, at most {OPERATORS_MAX} are allowed"))
    } else {
        None
    }
}

/// Whether evaluating a policy may need more stack than a thread of a server has left.
pub(crate) fn is_long(statement: &str) -> bool {
    let (deepest, operators) = nesting(statement);
    deepest > DEPTH_MAX / 4 || operators > OPERATORS_MAX / 10
}

/// Depth of brackets, and number of operators.
fn nesting(statement: &str) -> (usize, usize) {
    let (mut depth, mut deepest, mut operators, mut halves) = (0_usize, 0, 0, 0);
    let mut after_name = false;
    for (token, range) in tokens(statement) {
        match token {
            Token::Symbol('(' | '[' | '{') => {
                depth += 1;
                deepest = deepest.max(depth);
                operators += usize::from(after_name);
            }
            Token::Symbol(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Symbol('&' | '|') => halves += 1,
            Token::Symbol('+' | '-' | '*' | '.' | '!' | '<' | '>') => operators += 1,
            Token::Word if matches!(&statement[range], "if" | "then" | "else" | "has" | "like" | "is") => {
                operators += 1
            }
            _ => {}
        }
        after_name = matches!(token, Token::Symbol(')' | ']') | Token::Word);
    }
    (deepest, operators + halves / 2)
}

/// Where an annotation stands: offsets of its `@` and of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnnotationPlace {
    pub(crate) name: String,
    pub(crate) at: usize,
    pub(crate) value_at: usize,
}

/// The annotations at the head of a policy.
pub(crate) fn annotations(statement: &str) -> Vec<AnnotationPlace> {
    let mut places = Vec::new();
    let mut tokens = tokens(statement).peekable();
    while let Some((Token::Symbol('@'), at)) = tokens.next() {
        let Some((Token::Word, name)) = tokens.next() else { break };
        let mut place = AnnotationPlace { name: statement[name].to_owned(), at: at.start, value_at: at.start };
        if tokens.next_if(|(token, _)| *token == Token::Symbol('(')).is_some() {
            if let Some((_, value)) = tokens.next_if(|(token, _)| *token == Token::Text) {
                place.value_at = value.start;
            }
            tokens.next_if(|(token, _)| *token == Token::Symbol(')'));
        }
        places.push(place);
    }
    places
}

/// Offset of the first token that is this word, or this word as a text.
pub(crate) fn find_word(statement: &str, word: &str) -> Option<usize> {
    tokens(statement)
        .find(|(token, range)| match token {
            Token::Word => &statement[range.clone()] == word,
            Token::Text => statement[range.clone()].trim_matches('"') == word,
            Token::Symbol(_) => false,
        })
        .map(|(_, range)| range.start)
}

/// Line and column of a byte offset, both from 1; the column counts characters.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        if !text[at..].starts_with("//") {
            return at;
        }
        at += text[at..].find('\n').unwrap_or(text.len() - at);
    }
}

/// End of the text that begins at `start`; the end of everything when nothing closes it.
pub(crate) fn end_of_text(text: &str, start: usize) -> usize {
    let mut is_escaped = false;
    for (index, c) in text[start..].char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return start + index + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_semicolons_outside_texts_and_comments() {
        let text = "// a; b\npermit (x) when { \"; \\\" ;\" };\n// c;\nforbid ; tail";
        let parts: Vec<_> = statements(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(parts, ["permit (x) when { \"; \\\" ;\" };", "forbid ;", "tail"]);
    }

    #[test]
    fn finds_annotations_and_their_values() {
        let places = annotations("@id(\"a\") // x\n @shadow\n@limit( \"1/s\" ) permit (principal);");
        let names: Vec<_> = places.iter().map(|place| (place.name.as_str(), place.at, place.value_at)).collect();
        assert_eq!(names, [("id", 0, 4), ("shadow", 15, 15), ("limit", 23, 31)]);
    }

    #[test]
    fn evaluation_stays_on_a_stack_that_suffices() {
        let is_grown = |stack_bytes: usize| {
            let run = || {
                let outside = stacker::remaining_stack().unwrap();
                with_evaluation_stack(|| {
                    let inside = stacker::remaining_stack().unwrap();
                    assert!(inside > EVALUATION_STACK_BYTES - (64 << 10), "{inside} bytes are left");
                    inside > outside
                })
            };
            stacker::grow(stack_bytes, run)
        };
        assert!(!is_grown(EVALUATION_STACK_BYTES + (256 << 10)));
        assert!(is_grown(EVALUATION_STACK_BYTES / 2));
    }

    #[test]
    fn counts_lines_and_characters_from_one() {
        assert_eq!(place("ab\ncé d", 6), (2, 3));
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("a\n", 99), (2, 1));
    }
}
