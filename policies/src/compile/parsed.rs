//! Policies as parsed, each with its place, so that one broken policy hides none of the others.

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet, Template};

use super::PolicyKind;
use super::memory::{Learned, Memory};
use crate::annotations::Problem;
use crate::cedar::{self, Site};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::links::{self, Linked, Links};
use crate::rule::fingerprint;
use crate::sources::Sources;
use crate::text;

/// One policy that Cedar could parse.
pub(crate) struct Parsed<'a> {
    /// Counts the policies of all files; also Cedar's id for it.
    pub(crate) number: usize,
    pub(crate) kind: PolicyKind,
    pub(crate) learned: Arc<Learned>,
    pub(crate) role: Role<'a>,
    /// Not there where the policy is known from before.
    cedar: Option<Policy>,
    pub(crate) site: Site<'a>,
    line: usize,
    end: usize,
    /// Its number in the file, from 1.
    number_in_file: usize,
}

/// What a statement is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role<'a> {
    Policy,
    /// Only its links are enforced.
    Template,
    Link(&'a Linked<'a>),
}

/// Parses every file, policy by policy. What is known from before is not parsed again.
pub(crate) fn parse<'a>(
    sources: &'a Sources,
    links: &'a Links<'a>,
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
            let site = Site { file: &file.path, text: &file.text, start: range.start, link: None };
            let is_template = links::is_template(text);
            let linked = links.of(site).iter().map(|linked| (Role::Link(linked), linked.site(), linked.text.as_str()));
            let first = (if is_template { Role::Template } else { Role::Policy }, site, text);
            for (role, site, text) in std::iter::once(first).chain(linked) {
                let fingerprint = fingerprint((kind, matches!(role, Role::Template), text));
                let number = parsed.len();
                let (learned, cedar) = match before.policy(fingerprint) {
                    Some(learned) => (Arc::clone(learned), None),
                    None => match one(site, text, number, role) {
                        Ok(cedar) => (Arc::new(Learned::of(&cedar, kind)), (!is_template).then_some(cedar)),
                        Err(found) => {
                            problems.0.extend(found);
                            // What is wrong with a template is said once.
                            break;
                        }
                    },
                };
                memory.remember(fingerprint, &learned);
                let end = site.start + text.len();
                parsed.push(Parsed { number, kind, learned, role, cedar, site, line, end, number_in_file: index + 1 });
            }
        }
    }
    parsed
}

/// As Cedar has it. A template with entities in its slots, so that what it reads can be found.
fn one(site: Site<'_>, text: &str, number: usize, role: Role<'_>) -> Result<Policy, Vec<Diagnostic>> {
    if let Some(message) = text::too_deep(text) {
        let diagnostic = site.diagnostic(Severity::Error, "TG0109", 0, message);
        return Err(vec![diagnostic.help("split it into several policies")]);
    }
    let id = Some(PolicyId::new(number.to_string()));
    let syntax = |errors| cedar::syntax(&errors, site);
    match role {
        Role::Policy | Role::Link(_) => Policy::parse(id, text).map_err(syntax),
        Role::Template => {
            Template::parse(id.clone(), text).map_err(syntax)?;
            Policy::parse(id, links::filled(text)).map_err(syntax)
        }
    }
}

impl<'a> Parsed<'a> {
    pub(crate) fn text(&self) -> &str {
        &self.site.text[self.site.start..self.end]
    }

    /// `access/base.cedar:12`.
    pub(crate) fn origin(&self) -> String {
        format!("{}:{}", self.site.file, self.line)
    }

    /// As Cedar has it, under its number.
    pub(crate) fn cedar(&self) -> Option<Policy> {
        self.cedar.clone().or_else(|| one(self.site, self.text(), self.number, self.role).ok())
    }

    /// Adds it to what Cedar validates, under its number.
    pub(crate) fn add_to(&self, set: &mut PolicySet) {
        // Ids are numbers that the parser gave, so that none is there twice.
        match self.role {
            Role::Policy | Role::Link(_) => self.cedar().into_iter().for_each(|cedar| drop(set.add(cedar))),
            Role::Template => {
                let template = Template::parse(Some(PolicyId::new(self.number.to_string())), self.text());
                template.into_iter().for_each(|template| drop(set.add_template(template)));
            }
        }
    }

    /// The link that it comes from.
    pub(crate) fn link(&self) -> Option<&'a Linked<'a>> {
        match self.role {
            Role::Link(link) => Some(link),
            Role::Policy | Role::Template => None,
        }
    }

    pub(crate) fn id(&self) -> Arc<str> {
        match self.role {
            Role::Link(link) => Arc::clone(&link.id),
            _ => self.learned.id.clone().unwrap_or_else(|| links::default_id(self.site.file, self.number_in_file)),
        }
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
