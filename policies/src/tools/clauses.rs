//! Places within the text of one policy, where Cedar's syntax tree has none.

use std::ops::Range;

use crate::text::{self, Token};

/// One `when` or `unless` of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClausePlace {
    pub(crate) is_when: bool,
    /// Offset of the word.
    pub(crate) at: usize,
    /// What stands between its brackets.
    pub(crate) condition: Range<usize>,
}

/// The clauses of a policy that Cedar could parse, in order.
pub(crate) fn clauses(statement: &str) -> Vec<ClausePlace> {
    let mut places = Vec::new();
    let (mut depth, mut open): (usize, Option<(bool, usize, usize)>) = (0, None);
    for (token, range) in text::tokens(statement) {
        match token {
            Token::Word if depth == 0 && open.is_none() => match &statement[range.clone()] {
                "when" => open = Some((true, range.start, 0)),
                "unless" => open = Some((false, range.start, 0)),
                _ => {}
            },
            Token::Symbol('{' | '(' | '[') => {
                depth += 1;
                if let (1, Some((_, _, inner))) = (depth, &mut open) {
                    *inner = range.end;
                }
            }
            Token::Symbol('}' | ')' | ']') => {
                depth = depth.saturating_sub(1);
                if let (0, Some((is_when, at, inner))) = (depth, open) {
                    places.push(ClausePlace { is_when, at, condition: inner..range.start });
                    open = None;
                }
            }
            _ => {}
        }
    }
    places
}

/// Offset of the effect: where the policy begins, its annotations aside.
pub(crate) fn effect_at(statement: &str) -> usize {
    let (mut depth, mut before) = (0_usize, Token::Symbol(';'));
    for (token, range) in text::tokens(statement) {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            // `@permit` is an annotation.
            Token::Word if depth == 0 && before != Token::Symbol('@') => return range.start,
            _ => {}
        }
        before = token;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_condition_whatever_its_brackets() {
        let text =
            "@id(\"when {\") permit (principal, action, resource) when { {\"a\": [1]}.a == [1] } unless { true };";
        let found: Vec<_> = clauses(text).into_iter().map(|place| (place.is_when, &text[place.condition])).collect();
        assert_eq!(found, [(true, " {\"a\": [1]}.a == [1] "), (false, " true ")]);
        assert_eq!(&text[effect_at(text)..effect_at(text) + 6], "permit");
    }

    #[test]
    fn annotation_named_permit_is_not_the_effect() {
        let text = "@permit(\"permit\") forbid (principal, action, resource);";
        assert_eq!(effect_at(text), 18);
    }
}
