//! The tests of Cedar's own command line, as `cedar run-tests` takes them.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::cases::CaseResult;
use super::ground::causes;
use crate::compile::{Compiled, PolicyKind};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::entities::all_with_signals;
use crate::sources::SourceFile;
use crate::text::with_deep_stack;

#[derive(Debug, Deserialize)]
struct Test {
    #[serde(default)]
    name: String,
    request: Asked,
    /// A list, or the name of a file beside this one.
    entities: Value,
    decision: Expected,
    #[serde(default)]
    reason: Vec<String>,
    #[serde(default)]
    num_errors: usize,
}

#[derive(Debug, Deserialize)]
struct Asked {
    principal: String,
    action: String,
    resource: String,
    #[serde(default)]
    context: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// Runs the tests of `tests/*.json` against the access policies, with plain Cedar and its exact meaning: what is in shadow
/// mode counts, and a `forbid` that fails does not.
///
/// Files that hold no tests, such as the entities that tests name, are passed over.
///
/// # Errors
/// Everything that cannot be read.
pub fn run_cedar_tests(compiled: &Compiled, files: &[SourceFile]) -> Result<Vec<CaseResult>, Diagnostics> {
    with_deep_stack(|| run_all(compiled, files))
}

fn run_all(compiled: &Compiled, files: &[SourceFile]) -> Result<Vec<CaseResult>, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut results = Vec::new();
    let policies = policies(compiled);
    let schema = Schema::from_json_str(&compiled.schema_json).ok();
    for file in files {
        let items = match serde_json::from_str::<Value>(&file.text) {
            Ok(Value::Array(items)) if items.iter().any(|item| item.get("request").is_some()) => items,
            Ok(_) => continue,
            Err(error) => {
                let place = (error.line().max(1), error.column().max(1));
                problems.0.push(Diagnostic::error("TG0701", &file.path, error.to_string()).at(place));
                continue;
            }
        };
        for (index, item) in items.into_iter().enumerate() {
            match serde_json::from_value::<Test>(item) {
                Ok(test) => results.push(run(&policies, schema.as_ref(), file, files, index, &test)),
                Err(error) => {
                    let message = format!("test {}: {error}", index + 1);
                    problems.0.push(Diagnostic::error("TG0701", &file.path, message));
                }
            }
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(results) }
}

fn policies(compiled: &Compiled) -> PolicySet {
    let access = compiled.policies.iter().filter(|policy| policy.kind == PolicyKind::Access);
    let parsed = access.filter_map(|policy| Policy::parse(Some(PolicyId::new(&policy.id)), &policy.text).ok());
    let mut set = PolicySet::new();
    // Ids were checked to be distinct.
    parsed.for_each(|policy| drop(set.add(policy)));
    set
}

fn run(
    policies: &PolicySet,
    schema: Option<&Schema>,
    file: &SourceFile,
    files: &[SourceFile],
    index: usize,
    test: &Test,
) -> CaseResult {
    let asked = &test.request;
    let problems = match ask(policies, schema, file, files, test) {
        Ok(problems) => problems,
        Err(problem) => vec![problem],
    };
    CaseResult {
        file: file.path.clone(),
        line: 0,
        name: if test.name.is_empty() { format!("test {}", index + 1) } else { test.name.clone() },
        request: format!("{} {} {}", asked.principal, asked.action, asked.resource),
        problems,
    }
}

fn ask(
    policies: &PolicySet,
    schema: Option<&Schema>,
    file: &SourceFile,
    files: &[SourceFile],
    test: &Test,
) -> Result<Vec<String>, String> {
    let uid = |text: &str| text.parse::<EntityUid>().map_err(|error| format!("`{text}`: {error}"));
    let asked = &test.request;
    let (principal, action, resource) = (uid(&asked.principal)?, uid(&asked.action)?, uid(&asked.resource)?);
    let context = match &asked.context {
        Value::Null => Value::Object(serde_json::Map::new()),
        context => context.clone(),
    };
    // As far as it fits the schema it says of which types the values are; a test need not name all attributes.
    let typed = schema.and_then(|schema| Context::from_json_value(context.clone(), Some((schema, &action))).ok());
    let context = match typed {
        Some(context) => context,
        None => Context::from_json_value(context, None).map_err(|error| format!("context: {}", causes(&error)))?,
    };
    let request = Request::new(principal, action, resource, context, None).map_err(|error| causes(&error))?;
    let entities = entities(schema, file, files, &test.entities)?;
    let answer = Authorizer::new().is_authorized(&request, policies, &entities);

    let mut problems = Vec::new();
    let got = if answer.decision() == Decision::Allow { Expected::Allow } else { Expected::Deny };
    if got != test.decision {
        problems.push(format!("expected {:?}, got {got:?}", test.decision).to_lowercase());
    }
    let reasons: BTreeSet<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
    let missing: Vec<_> = test.reason.iter().filter(|reason| !reasons.contains(*reason)).cloned().collect();
    if !missing.is_empty() {
        problems.push(format!("expected to be decided by {} too", missing.join(", ")));
    }
    let errors: Vec<_> = answer.diagnostics().errors().map(ToString::to_string).collect();
    if errors.len() != test.num_errors {
        problems.push(format!("expected {} errors, got {}: {}", test.num_errors, errors.len(), errors.join("; ")));
    }
    Ok(problems)
}

fn entities(
    schema: Option<&Schema>,
    file: &SourceFile,
    files: &[SourceFile],
    written: &Value,
) -> Result<Entities, String> {
    let items = match written {
        Value::String(name) => {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = format!("{folder}/{}", name.trim_start_matches("./"));
            let beside = files.iter().find(|other| other.path == path || other.path == *name);
            let beside = beside.ok_or_else(|| format!("there is no file `{name}` beside the test"))?;
            serde_json::from_str(&beside.text).map_err(|error| format!("`{name}`: {error}"))?
        }
        other => other.clone(),
    };
    let Value::Array(items) = items else { return Err("entities: expected a list".to_owned()) };
    if let Some(Ok(entities)) =
        schema.map(|schema| Entities::from_json_value(all_with_signals(items.clone()), Some(schema)).map_err(drop))
    {
        return Ok(entities);
    }
    Entities::from_json_value(Value::Array(items), None).map_err(|error| format!("entities: {}", causes(&error)))
}
