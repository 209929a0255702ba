//! Cedar's parser and validator errors as [`Diagnostic`]s: with a stable code, the place in the file, and without the
//! internal names that Cedar's texts carry.

use std::ops::Range;

use cedar_policy::{ParseErrors, ValidationError, ValidationWarning};

use crate::diagnostics::{Diagnostic, Severity};
use crate::links::Linked;
use crate::text;

/// One policy of a file: where its text begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) file: &'a str,
    /// The whole file.
    pub(crate) text: &'a str,
    /// Byte offset of the policy in it.
    pub(crate) start: usize,
    /// Of a linked policy, whose text stands in no file: `text` is that of the policy alone.
    pub(crate) link: Option<&'a Linked<'a>>,
}

impl Site<'_> {
    /// A diagnostic about the token at an offset within the policy.
    pub(crate) fn diagnostic(&self, severity: Severity, code: &'static str, at: usize, message: String) -> Diagnostic {
        let rest = self.text.get(self.start + at..).unwrap_or_default();
        let end = text::tokens(rest).next().map_or(at, |(_, token)| at + token.end);
        self.spanning(severity, code, at..end, message)
    }

    /// A diagnostic about a part of the policy.
    pub(crate) fn spanning(
        &self,
        severity: Severity,
        code: &'static str,
        range: Range<usize>,
        message: String,
    ) -> Diagnostic {
        let Some(link) = self.link else {
            let place = |at| text::place(self.text, self.start + at);
            let diagnostic = Diagnostic { severity, ..Diagnostic::error(code, self.file, message) };
            return diagnostic.at(place(range.start)).until(place(range.end));
        };
        let ((file, start), (last_file, end)) = (link.place(range.start), link.place(range.end));
        let message = format!("{message}, in the link `{}` of the template `{}`", link.id, link.template);
        let diagnostic = Diagnostic { severity, ..Diagnostic::error(code, file, message) }.at(start);
        // What begins in a link may end in its template.
        if file == last_file && start < end { diagnostic.until(end) } else { diagnostic }
    }
}

/// Every syntax error of one policy.
pub(crate) fn syntax(errors: &ParseErrors, site: Site<'_>) -> Vec<Diagnostic> {
    errors.iter().map(|error| translate(error, Severity::Error, "TG0101", site)).collect()
}

/// One error of the validator.
pub(crate) fn validation(error: &ValidationError, site: Site<'_>) -> Diagnostic {
    let code = match error {
        ValidationError::UnrecognizedEntityType(_) => "TG0105",
        ValidationError::UnrecognizedActionId(_) => "TG0106",
        ValidationError::UnsafeAttributeAccess(_) => "TG0104",
        ValidationError::UnsafeOptionalAttributeAccess(_) => "TG0107",
        _ => "TG0102",
    };
    let diagnostic = translate(error, Severity::Error, code, site);
    match (error, access(error, &diagnostic.message, site)) {
        // Cedar names the kind of request in which it noticed, which may be any, and cannot name the expression.
        (ValidationError::UnsafeOptionalAttributeAccess(_), Some(access)) => Diagnostic {
            message: format!("`{access}` may be absent"),
            help: guard(access).map(|guard| format!("ask first: `{guard} && ..`")).or(diagnostic.help),
            ..diagnostic
        },
        (ValidationError::UnsafeAttributeAccess(_), Some(access)) => {
            Diagnostic { message: format!("there is no `{access}`"), ..diagnostic }
        }
        _ => diagnostic,
    }
}

/// The expression that an error about an attribute is about, as far as that attribute: what Cedar points at may go on.
fn access<'a>(error: &dyn miette::Diagnostic, message: &str, site: Site<'a>) -> Option<&'a str> {
    let label = error.labels()?.next()?;
    let start = site.start + label.offset();
    let text = site.text.get(start..start + label.len())?;
    let path = message.split('`').nth(1)?;
    Some(&text[..text.find(path)? + path.len()])
}

/// `resource.signals has p99_ms` for `resource.signals.p99_ms`.
fn guard(access: &str) -> Option<String> {
    let (base, name) = match access.strip_suffix(']') {
        Some(access) => access.rsplit_once('[')?,
        None => access.rsplit_once('.')?,
    };
    Some(format!("{} has {}", base.trim(), name.trim()))
}

/// One warning of the validator.
pub(crate) fn warning(warning: &ValidationWarning, site: Site<'_>) -> Diagnostic {
    translate(warning, Severity::Warning, "TG0110", site)
}

fn translate(
    error: &(impl miette::Diagnostic + ?Sized),
    severity: Severity,
    code: &'static str,
    site: Site<'_>,
) -> Diagnostic {
    let label = error.labels().and_then(|mut labels| labels.next());
    let label_at = label.as_ref().map(|label| label.offset());
    let label_text = label.as_ref().and_then(|label| label.label()).map(str::to_owned);
    let message = plain(&error.to_string());
    let mut diagnostic = match label.filter(|label| !label.is_empty()) {
        Some(label) => site.spanning(severity, code, label.offset()..label.offset() + label.len(), message),
        None => site.diagnostic(severity, code, label_at.unwrap_or(0), message),
    };
    let help = error.help().map(|help| plain(&help.to_string()));
    // The parser puts what it expected into the label.
    diagnostic.help = help.or(label_text.filter(|text| text.starts_with("expected")));
    diagnostic
}

/// Without `for policy ..,`: the place says which one.
fn plain(text: &str) -> String {
    match text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, rest)) => rest.to_owned(),
        None => text.to_owned(),
    }
}
