//! From the text of `data/*.cedar` to policies that are known to be right.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use tollgate_api::v1;

use super::schema::{COLUMN, TABLE, schema};
use super::{DataPolicies, DataPolicy, Named};
use crate::cedar::{self, Site};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::model::Known;
use crate::rule::fingerprint;
use crate::sources::SourceFile;
use crate::text;
use crate::world::World;

/// Annotations that a policy on data may have.
const ANNOTATIONS: [&str; 4] = ["id", "reason", "description", "owner"];

/// A policy with its place.
struct Parsed<'a> {
    policy: Policy,
    site: Site<'a>,
    text: &'a str,
    entry: DataPolicy,
}

/// Checks the files, and says everything that is wrong. `None` where anything is, here or elsewhere.
pub(crate) fn compile(
    files: &[SourceFile],
    known: &Known,
    entities_json: &str,
    problems: &mut Diagnostics,
) -> Option<Arc<DataPolicies>> {
    let schema_json = schema(known);
    let schema = match Schema::from_json_value(schema_json.clone()) {
        Ok(schema) => schema,
        Err(error) => {
            problems.0.push(Diagnostic::error("TG0307", crate::sources::ENTITIES, error.to_string()));
            return None;
        }
    };
    let parsed = parse(files, problems);
    let mut set = PolicySet::new();
    // Ids are numbers that the parser gave, so that none is there twice.
    parsed.iter().for_each(|parsed| drop(set.add(parsed.policy.clone())));
    validate(&parsed, schema, &set, problems);
    let mut places = BTreeMap::new();
    for parsed in &parsed {
        let entry = &parsed.entry;
        if let Some(other) = places.insert(Arc::clone(&entry.id), entry.origin.clone()) {
            let message = format!("policy id `{}` is taken by {other}", entry.id);
            problems.0.push(parsed.site.diagnostic(Severity::Error, "TG0204", 0, message));
        }
    }
    // What is wrong with the entities has been said, and would only be said again.
    if problems.has_errors() {
        return None;
    }
    let entities = v1::Entities { schema_json: schema_json.to_string(), entities_json: entities_json.to_owned() };
    let world = World::read(&entities, &World::default());
    let world =
        world.map_err(|message| problems.0.push(Diagnostic::error("TG0303", crate::sources::ENTITIES, message)));
    let texts: Vec<_> = parsed.iter().map(|parsed| parsed.text).collect();
    let digest = fingerprint((texts, entities_json));
    let named = parsed.iter().flat_map(names).collect();
    let policies = parsed.into_iter().map(|parsed| parsed.entry).collect();
    Some(Arc::new(DataPolicies { set, policies, world: world.ok()?, named, digest }))
}

fn parse<'a>(files: &'a [SourceFile], problems: &mut Diagnostics) -> Vec<Parsed<'a>> {
    let mut all = Vec::new();
    for file in files {
        for (index, range) in text::statements(&file.text).into_iter().enumerate() {
            let text = &file.text[range.clone()];
            let site = Site { file: &file.path, text: &file.text, start: range.start, link: None };
            if let Some(message) = text::too_deep(text) {
                let diagnostic = site.diagnostic(Severity::Error, "TG0109", 0, message);
                problems.0.push(diagnostic.help("split it into several policies"));
                continue;
            }
            match Policy::parse(Some(PolicyId::new(all.len().to_string())), text) {
                Ok(policy) => {
                    problems.0.extend(unknown_annotations(&policy, site, text));
                    let entry = entry(&policy, site, text, index + 1);
                    all.push(Parsed { policy, site, text, entry });
                }
                Err(errors) => problems.0.extend(cedar::syntax(&errors, site)),
            }
        }
    }
    all
}

fn entry(policy: &Policy, site: Site<'_>, text: &str, number: usize) -> DataPolicy {
    let stem = site.file.rsplit('/').next().unwrap_or(site.file).trim_end_matches(".cedar");
    let id = policy.annotation("id").filter(|id| !id.is_empty());
    let (line, _) = text::place(site.text, site.start);
    DataPolicy {
        id: id.map_or_else(|| format!("{stem}#{number}"), str::to_owned).into(),
        is_forbid: policy.effect() == Effect::Forbid,
        text: text.to_owned(),
        origin: format!("{}:{line}", site.file),
    }
}

fn unknown_annotations(policy: &Policy, site: Site<'_>, text: &str) -> Vec<Diagnostic> {
    let places = text::annotations(text);
    let unknown = policy.annotations().map(|(name, _)| name).filter(|name| !ANNOTATIONS.contains(name));
    let say = |name: &str| {
        let at = places.iter().find(|place| place.name == name).map_or(0, |place| place.at);
        site.diagnostic(Severity::Error, "TG1002", at, format!("`@{name}` means nothing in a policy on data"))
    };
    unknown.map(say).collect()
}

fn validate(parsed: &[Parsed<'_>], schema: Schema, set: &PolicySet, problems: &mut Diagnostics) {
    let at = |id: &PolicyId| id.to_string().parse::<usize>().ok().and_then(|number| parsed.get(number));
    let result = Validator::new(schema).validate(set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let Some(policy) = at(error.policy_id()) else { continue };
        let found = cedar::validation(error, policy.site);
        let is_said = |other: &Diagnostic| {
            (&other.file, other.line, other.column, other.code) == (&found.file, found.line, found.column, found.code)
        };
        // The validator looks at each kind of request by itself and may say the same of several.
        if !problems.0.iter().any(is_said) {
            problems.0.push(found);
        }
    }
    let warnings = result.validation_warnings();
    problems.0.extend(warnings.filter_map(|warning| Some(cedar::warning(warning, at(warning.policy_id())?.site))));
}

/// Tables and columns that a policy names. To Cedar any id is right, so that a misspelt one would silently mean nothing.
fn names(parsed: &Parsed<'_>) -> Vec<(Named, Diagnostic)> {
    let literals = parsed.policy.entity_literals();
    let named = literals.into_iter().filter_map(|uid| {
        let id = uid.id().unescaped().to_owned();
        let (what, named) = match uid.type_name().to_string().as_str() {
            TABLE => ("table", Named::Table(id.clone())),
            COLUMN => ("column", Named::Column(id.clone())),
            _ => return None,
        };
        let at = parsed.text.find(&format!("\"{id}\"")).unwrap_or(0);
        let diagnostic = parsed.site.diagnostic(Severity::Error, "TG1001", at, format!("there is no {what} `{id}`"));
        Some((named, diagnostic))
    });
    named.collect()
}
