//! What Cedar's validator lets pass.
//!
//! To it `resource.signals has p99ms` is not wrong, only never true: a misspelt name would silently switch a policy off.

use std::collections::BTreeSet;

use super::PolicyKind;
use super::parsed::{Parsed, Role};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::entities::{self, EntityFile};
use crate::lists::Declaration;
use crate::model::{self, AttributeType, GROUP, Known, SERVICE, USER};
use crate::shaping::{Cost, CostAttribute, Shaping};
use crate::sources::{SourceFile, Sources};

/// Most lists of a directory.
const LISTS_MAX: usize = 256;

/// What was seen in the directory and not read, and a directory that refuses everything.
pub(crate) fn strays(sources: &Sources) -> Vec<Diagnostic> {
    let warn = |path: &String| {
        let help = "policies are read from access/*.cedar, shaping/*.cedar, data/*.cedar, signals/*.sql, entities.json and links.json";
        Diagnostic::warning("TG0003", path, "not read").help(help)
    };
    let mut warnings: Vec<_> = sources.strays.iter().map(warn).collect();
    if sources.access.is_empty() {
        let message = "there are no access policies in access/*.cedar: every request is refused";
        warnings.push(Diagnostic::warning("TG0005", "", message));
    }
    warnings
}

/// Lists as they are declared, by name. A file that cannot be read, and a name that is taken, are errors.
pub(crate) fn lists(sources: &Sources, problems: &mut Diagnostics) -> Vec<Declaration> {
    let mut lists: Vec<(Declaration, &str)> = Vec::new();
    for file in &sources.lists {
        match Declaration::read(file) {
            Ok(list) => match lists.iter().find(|(other, _)| other.name == list.name) {
                Some((_, other)) => {
                    let message = format!("list `{}` is declared in {other} too", list.name);
                    problems.0.push(Diagnostic::error("TG0805", &file.path, message).help("give it another `name`"));
                }
                None => lists.push((list, file.path.as_str())),
            },
            Err(problem) => problems.0.push(problem),
        }
    }
    if lists.len() > LISTS_MAX {
        let message = format!("{} lists: at most {LISTS_MAX} are allowed", lists.len());
        problems.0.push(Diagnostic::error("TG0806", "", message));
    }
    let mut lists: Vec<_> = lists.into_iter().map(|(list, _)| list).collect();
    lists.sort_by(|a, b| a.name.cmp(&b.name));
    lists
}

/// Lists that are fetched for nothing.
pub(crate) fn unread_lists(sources: &Sources, lists: &[Declaration], policies: &[Parsed<'_>]) -> Vec<Diagnostic> {
    let reads = || policies.iter().map(|policy| &policy.learned.reads);
    if reads().any(|reads| reads.whole_lists || reads.whole_context) {
        return Vec::new();
    }
    let read: BTreeSet<_> = reads().flat_map(|reads| &reads.lists).collect();
    let is_unread = |file: &&SourceFile| {
        let list = Declaration::read(file).ok().filter(|list| lists.contains(list));
        list.is_some_and(|list| !read.contains(&list.name))
    };
    let warn = |file: &SourceFile| {
        let help = "ask `context.lists.contains(\"name\")` in a policy, or remove the list";
        Diagnostic::warning("TG0803", &file.path, "no policy reads this list").help(help)
    };
    sources.lists.iter().filter(is_unread).map(warn).collect()
}

/// Names in a policy that nothing has: each with its diagnostic.
pub(crate) fn names(policy: &Parsed<'_>, known: &Known) -> Vec<(String, Diagnostic)> {
    let mut unknown = Vec::new();
    let mut say = |code, name: &str, message: String, candidates: Vec<&str>| {
        let diagnostic = policy.at_word(Severity::Error, code, name, message).suggest(name, candidates);
        unknown.push((name.to_owned(), diagnostic));
    };
    let context = model::context_names();
    for name in policy.learned.reads.context.iter().filter(|name| !context.contains(&name.as_str())) {
        say("TG0104", name, format!("unknown attribute `{name}` of `context`"), context.clone());
    }
    for used in &policy.learned.reads.attributes {
        let name = &used.name;
        if used.is_signal {
            let signals = known.signal_names(used.entity_type);
            if !signals.contains(name.as_str()) {
                say("TG0103", name, format!("unknown signal `{name}`"), signals.into_iter().collect());
            }
        } else if let Some(of_type @ (SERVICE | USER)) = used.entity_type {
            let attributes = known.attribute_names(of_type);
            if !attributes.contains(name.as_str()) {
                say(
                    "TG0104",
                    name,
                    format!("unknown attribute `{name}` of `{of_type}`"),
                    attributes.into_iter().collect(),
                );
            }
        }
    }
    for name in policy.learned.reads.lists.difference(&known.lists) {
        say("TG0804", name, format!("unknown list `{name}`"), known.lists.iter().map(String::as_str).collect());
    }
    for name in policy.learned.reads.headers.iter().filter(|name| !model::is_header_name(name)) {
        let lower = name.to_lowercase();
        let message = format!("`{name}` is not the name of a header");
        let diagnostic = policy.at_word(Severity::Error, "TG0112", name, message);
        let help = if model::is_header_name(&lower) { Some(format!("write `{lower}`, in lower case")) } else { None };
        unknown.push((name.clone(), Diagnostic { help, ..diagnostic }));
    }
    unknown
}

/// Groups that nothing is in, and services whose names cannot be right: possible, and hardly meant.
pub(crate) fn groups(policies: &[Parsed<'_>], entities: &EntityFile) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for policy in policies {
        // What stands in the slots of a template is nothing that anybody wrote.
        let literals = policy.learned.literals.iter().filter(|_| !matches!(policy.role, Role::Template));
        for uid in literals {
            let id: &str = uid.id().unescaped();
            match uid.type_name().to_string().as_str() {
                GROUP if !entities.groups.contains(id) => {
                    let message = format!("nothing is in `Group::\"{id}\"`: entities.json does not mention it");
                    let warning = policy.at_word(Severity::Warning, "TG0111", id, message);
                    warnings.push(warning.suggest(id, entities.groups.iter().map(String::as_str)));
                }
                SERVICE if !entities::is_service_id(id) => {
                    let message = format!("`{id}` cannot be a service");
                    let warning = policy.at_word(Severity::Warning, "TG0113", id, message);
                    warnings.push(warning.help("services are named `namespace/name`"));
                }
                _ => {}
            }
        }
    }
    warnings
}

/// A cost that is read from an attribute that is not there, or not a number.
pub(crate) fn cost(policy: &Parsed<'_>, shaping: &Shaping, known: &Known) -> Option<Diagnostic> {
    debug_assert_eq!(policy.kind, PolicyKind::Shaping);
    let Cost::Attribute(CostAttribute::Principal(name) | CostAttribute::Resource(name)) = &shaping.cost else {
        return None;
    };
    let attributes = known.attributes.get(SERVICE);
    let found = attributes.and_then(|attributes| attributes.get(&**name));
    let message = match found {
        Some(AttributeType::Long) => return None,
        Some(_) => format!("`@cost`: attribute `{name}` is not an integer"),
        None => format!("`@cost`: no service in entities.json has an attribute `{name}`"),
    };
    let at = policy.annotation_at("cost", true);
    let diagnostic = policy.site.diagnostic(Severity::Error, "TG0202", at, message);
    let candidates = if found.is_none() { known.attribute_names(SERVICE) } else { BTreeSet::new() };
    Some(diagnostic.suggest(name, candidates))
}
