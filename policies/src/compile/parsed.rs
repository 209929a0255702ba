//! Policies as parsed, each with its place, so that one broken policy hides none of the others.

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};

use super::PolicyKind;
use crate::annotations::Problem;
use crate::cedar::{self, Site};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::reads::Reads;
use crate::sources::{SourceFile, Sources};
use crate::text::{self, AnnotationPlace};

/// One policy that Cedar could parse.
pub(crate) struct Parsed<'a> {
    /// Counts the policies of all files; also Cedar's id for it.
    pub(crate) number: usize,
    pub(crate) kind: PolicyKind,
    pub(crate) cedar: Policy,
    pub(crate) reads: Reads,
    pub(crate) site: Site<'a>,
    end: usize,
    /// Its number in the file, from 1.
    number_in_file: usize,
    annotations: Vec<AnnotationPlace>,
}

/// Parses every file, policy by policy.
pub(crate) fn parse<'a>(sources: &'a Sources, problems: &mut Diagnostics) -> Vec<Parsed<'a>> {
    let access = sources.access.iter().map(|file| (file, PolicyKind::Access));
    let shaping = sources.shaping.iter().map(|file| (file, PolicyKind::Shaping));
    let mut parsed = Vec::new();
    for (file, kind) in access.chain(shaping) {
        for (index, range) in text::statements(&file.text).into_iter().enumerate() {
            match one(file, range.start, range.end, parsed.len()) {
                Ok((cedar, site)) => parsed.push(Parsed {
                    number: parsed.len(),
                    kind,
                    reads: Reads::of(&cedar),
                    cedar,
                    site,
                    end: range.end,
                    number_in_file: index + 1,
                    annotations: text::annotations(&file.text[range]),
                }),
                Err(found) => problems.0.extend(found),
            }
        }
    }
    parsed
}

fn one(file: &SourceFile, start: usize, end: usize, number: usize) -> Result<(Policy, Site<'_>), Vec<Diagnostic>> {
    let site = Site { file: &file.path, text: &file.text, start };
    let text = &file.text[start..end];
    if let Some(message) = text::too_deep(text) {
        let diagnostic = site.diagnostic(Severity::Error, "TG0109", 0, message);
        return Err(vec![diagnostic.help("split it into several policies")]);
    }
    let parsed = Policy::parse(Some(PolicyId::new(number.to_string())), text);
    parsed.map(|cedar| (cedar, site)).map_err(|errors| cedar::syntax(&errors, site))
}

impl Parsed<'_> {
    pub(crate) fn text(&self) -> &str {
        &self.site.text[self.site.start..self.end]
    }

    /// `access/base.cedar:12`.
    pub(crate) fn origin(&self) -> String {
        format!("{}:{}", self.site.file, text::place(self.site.text, self.site.start).0)
    }

    /// `base#3`.
    pub(crate) fn default_id(&self) -> Arc<str> {
        let name = self.site.file.rsplit('/').next().unwrap_or(self.site.file);
        Arc::from(format!("{}#{}", name.trim_end_matches(".cedar"), self.number_in_file))
    }

    /// Offset of an annotation in the policy, of its value or of its `@`; 0 where it is not written.
    pub(crate) fn annotation_at(&self, name: &str, is_value: bool) -> usize {
        let place = self.annotations.iter().find(|place| place.name == name);
        place.map_or(0, |place| if is_value { place.value_at } else { place.at })
    }

    pub(crate) fn annotation_problem(&self, problem: Problem) -> Diagnostic {
        let at = self.annotation_at(&problem.annotation, problem.is_value);
        let diagnostic = self.site.diagnostic(problem.severity, problem.code, at, problem.message);
        Diagnostic { help: problem.help, ..diagnostic }
    }

    /// A diagnostic where a word first stands in the policy.
    pub(crate) fn at_word(&self, severity: Severity, code: &'static str, word: &str, message: String) -> Diagnostic {
        let at = text::find_word(self.text(), word).unwrap_or(0);
        self.site.diagnostic(severity, code, at, message)
    }
}
