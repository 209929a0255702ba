//! Functions that change labels.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, token};

use super::Evaluator;
use crate::columns::{Column, Steps};
use crate::error::Error;
use crate::labels::{Labels, METRIC_NAME};

impl Evaluator<'_> {
    /// `label_replace(v, target, replacement, source, regex)`
    pub(super) fn label_replace(&self, args: &[Box<Expr>], steps: Steps) -> Result<Vec<Column>, Error> {
        let (target, replacement) = (Self::text(&args[1])?, Self::text(&args[2])?);
        let (source, pattern) = (Self::text(&args[3])?, Self::text(&args[4])?);
        check_name("label_replace", "destination", target)?;
        check_name("label_replace", "source", source)?;
        // A matcher holds the pattern as it is matched everywhere: from the beginning to the end.
        let matcher = Matcher::new_matcher(token::T_EQL_REGEX, source.to_owned(), pattern.to_owned());
        let invalid = || Error::execution(format!("invalid regular expression in label_replace(): {pattern}"));
        let MatchOp::Re(regex) = matcher.map_err(|_| invalid())?.op else { return Err(invalid()) };
        let columns = self.vector(&args[0], steps)?;
        self.relabel(columns, steps, |labels| {
            if let Some(captures) = regex.captures(labels.get(source)) {
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                drop(captures);
                labels.set(target, value);
            }
        })
    }

    /// `label_join(v, target, separator, source...)`
    pub(super) fn label_join(&self, args: &[Box<Expr>], steps: Steps) -> Result<Vec<Column>, Error> {
        let (target, separator) = (Self::text(&args[1])?, Self::text(&args[2])?);
        check_name("label_join", "destination", target)?;
        let sources: Vec<&str> = args[3..].iter().map(|arg| Self::text(arg)).collect::<Result<_, _>>()?;
        for source in &sources {
            check_name("label_join", "source", source)?;
        }
        let columns = self.vector(&args[0], steps)?;
        self.relabel(columns, steps, |labels| {
            let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
            let joined = values.join(separator);
            labels.set(target, joined);
        })
    }

    fn relabel(&self, columns: Vec<Column>, steps: Steps, change: impl Fn(&mut Labels)) -> Result<Vec<Column>, Error> {
        let mut output = self.output(steps);
        for mut column in columns {
            change(&mut column.labels);
            output.add(column.labels, &column.values)?;
        }
        Ok(output.finish())
    }
}

fn check_name(function: &str, role: &str, name: &str) -> Result<(), Error> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_name = starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    // Prometheus takes any source in `label_replace`, even one that no series can have.
    if is_name || name == METRIC_NAME || (function == "label_replace" && role == "source") {
        return Ok(());
    }
    Err(Error::execution(format!("invalid {role} label name in {function}(): {name}")))
}
