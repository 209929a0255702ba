//! Policies as parsed, each with its place, so that one broken policy hides none of the others.

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId};

use super::PolicyKind;
use super::memory::{Learned, Memory};
use crate::annotations::Problem;
use crate::cedar::{self, Site};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::rule::fingerprint;
use crate::sources::Sources;
use crate::text;

/// One policy that Cedar could parse.
pub(crate) struct Parsed<'a> {
    /// Counts the policies of all files; also Cedar's id for it.
    pub(crate) number: usize,
    pub(crate) kind: PolicyKind,
    pub(crate) learned: Arc<Learned>,
    /// Not there where the policy is known from before.
    cedar: Option<Policy>,
    pub(crate) site: Site<'a>,
    line: usize,
    end: usize,
    /// Its number in the file, from 1.
    number_in_file: usize,
}

/// Parses every file, policy by policy. What is known from before is not parsed again.
pub(crate) fn parse<'a>(
    sources: &'a Sources,
    before: &Memory,
    memory: &mut Memory,
    problems: &mut Diagnostics,
) -> Vec<Parsed<'a>> {
    let access = sources.access.iter().map(|file| (file, PolicyKind::Access));
    let shaping = sources.shaping.iter().map(|file| (file, PolicyKind::Shaping));
    let mut parsed = Vec::new();
    for (file, kind) in access.chain(shaping) {
        let (mut line, mut counted) = (1, 0);
        for (index, range) in text::statements(&file.text).into_iter().enumerate() {
            line += file.text[counted..range.start].matches('\n').count();
            counted = range.start;
            let text = &file.text[range.clone()];
            let site = Site { file: &file.path, text: &file.text, start: range.start };
            let fingerprint = fingerprint((kind, text));
            let (number, number_in_file, end) = (parsed.len(), index + 1, range.end);
            let (learned, cedar) = match before.policy(fingerprint) {
                Some(learned) => (Arc::clone(learned), None),
                None => match one(site, text, number) {
                    Ok(cedar) => (Arc::new(Learned::of(&cedar, kind)), Some(cedar)),
                    Err(found) => {
                        problems.0.extend(found);
                        continue;
                    }
                },
            };
            memory.remember(fingerprint, &learned);
            parsed.push(Parsed { number, kind, learned, cedar, site, line, end, number_in_file });
        }
    }
    parsed
}

fn one(site: Site<'_>, text: &str, number: usize) -> Result<Policy, Vec<Diagnostic>> {
    if let Some(message) = text::too_deep(text) {
        let diagnostic = site.diagnostic(Severity::Error, "TG0109", 0, message);
        return Err(vec![diagnostic.help("split it into several policies")]);
    }
    let parsed = Policy::parse(Some(PolicyId::new(number.to_string())), text);
    parsed.map_err(|errors| cedar::syntax(&errors, site))
}

impl Parsed<'_> {
    pub(crate) fn text(&self) -> &str {
        &self.site.text[self.site.start..self.end]
    }

    /// `access/base.cedar:12`.
    pub(crate) fn origin(&self) -> String {
        format!("{}:{}", self.site.file, self.line)
    }

    /// As Cedar has it, under its number.
    pub(crate) fn cedar(&self) -> Option<Policy> {
        self.cedar.clone().or_else(|| one(self.site, self.text(), self.number).ok())
    }

    /// `base#3`.
    pub(crate) fn default_id(&self) -> Arc<str> {
        let name = self.site.file.rsplit('/').next().unwrap_or(self.site.file);
        Arc::from(format!("{}#{}", name.trim_end_matches(".cedar"), self.number_in_file))
    }

    /// Offset of an annotation in the policy, of its value or of its `@`; 0 where it is not written.
    pub(crate) fn annotation_at(&self, name: &str, is_value: bool) -> usize {
        let place = text::annotations(self.text()).into_iter().find(|place| place.name == name);
        place.map_or(0, |place| if is_value { place.value_at } else { place.at })
    }

    pub(crate) fn annotation_problem(&self, problem: &Problem) -> Diagnostic {
        let at = self.annotation_at(&problem.annotation, problem.is_value);
        let diagnostic = self.site.diagnostic(problem.severity, problem.code, at, problem.message.clone());
        Diagnostic { help: problem.help.clone(), ..diagnostic }
    }

    /// A diagnostic where a word first stands in the policy.
    pub(crate) fn at_word(&self, severity: Severity, code: &'static str, word: &str, message: String) -> Diagnostic {
        let at = text::find_word(self.text(), word).unwrap_or(0);
        self.site.diagnostic(severity, code, at, message)
    }
}
