//! From a directory of text to policies that are known to be right.

mod checks;
mod digest;
mod memory;
mod parsed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use parking_lot::Mutex;
use serde_json::Value;
use tollgate_api::v1;

use crate::cedar;
pub(crate) use crate::compile::digest::{Digest, of_text};
use crate::compile::memory::{Memory, Schemas};
use crate::compile::parsed::{Parsed, Role};
use crate::data::{self, DataPolicies};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::entities::{self, EntityFile};
use crate::links;
use crate::lists::Declaration;
use crate::model::{self, Known, SignalSchema, WITH_SIGNALS};
use crate::rule::fingerprint;
use crate::shaping::{ByKey, Shaping};
use crate::slices::Bearing;
use crate::sources::Sources;
use crate::text;

/// What is enforced and what only observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mode {
    /// Nothing is enforced anywhere.
    pub observe: bool,
    /// Called services for which nothing is enforced, as `namespace/name`.
    pub observed_services: Vec<String>,
}

/// Which set a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Who may call what.
    Access,
    /// How much, how fast.
    Shaping,
}

/// What a policy does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `permit`.
    Permit,
    /// `forbid`.
    Forbid,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEntry {
    /// `@id`, or the file's stem and the policy's number in it: `base#3`.
    pub id: Arc<str>,
    /// Which set it belongs to.
    pub kind: PolicyKind,
    /// What it does when it matches.
    pub effect: Effect,
    /// Whether it only says what it would have done.
    pub shadow: bool,
    /// Cedar source of this one policy.
    pub text: String,
    /// Where it is written, or its template: `access/base.cedar:12`.
    pub origin: String,
    /// The template of which `links.json` makes it.
    pub template: Option<Arc<str>>,
    /// The annotations of a shaping policy.
    pub shaping: Option<Shaping>,
    /// Of kind, id and text, the same on every machine.
    pub(crate) fingerprint: u128,
    pub(crate) bearing: Arc<Bearing>,
}

/// Policies that were checked whole.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Access, then shaping, each in the order of files and lines.
    pub policies: Vec<PolicyEntry>,
    /// What is probably not meant.
    pub warnings: Diagnostics,
    /// Changes exactly when access, shaping, entities or modes change.
    pub digest: String,
    /// The generated Cedar schema.
    pub schema_json: String,
    /// The part of it that entities are read by.
    pub(crate) entity_schema_json: String,
    /// Cedar entities, without signals.
    pub entities_json: String,
    /// What is enforced and what only observed.
    pub mode: Mode,
    /// Lists, by name.
    pub lists: Vec<Declaration>,
    /// Who may read and report what; `None` where everybody may everything.
    pub data: Option<Arc<DataPolicies>>,
}

impl Compiled {
    /// The same as reporters get it.
    #[must_use]
    pub fn to_proto(&self) -> v1::Policies {
        let of_kind = |kind| {
            let policies = self.policies.iter().filter(move |policy| policy.kind == kind);
            policies
                .map(|policy| v1::Policy {
                    id: policy.id.to_string(),
                    text: policy.text.clone(),
                    origin: policy.origin.clone(),
                })
                .collect()
        };
        v1::Policies {
            digest: self.digest.clone(),
            access: of_kind(PolicyKind::Access),
            shaping: of_kind(PolicyKind::Shaping),
            entities_json: self.entities_json.clone(),
            observe: self.mode.observe,
            observed_services: self.mode.observed_services.clone(),
            schema_json: self.entity_schema_json.clone(),
            headers: Vec::new(),
        }
    }
}

/// Of the last directory that this process compiled. A cache: it changes no result.
static MEMORY: LazyLock<Mutex<Arc<Memory>>> = LazyLock::new(Mutex::default);

/// Checks everything and reports every problem at once. Policies that the last directory held too are not parsed again, nor
/// validated again while the schema stays the same.
///
/// # Errors
/// All errors, with the warnings among them.
pub fn compile(sources: &Sources, signals: &[SignalSchema], mode: &Mode) -> Result<Compiled, Diagnostics> {
    let before = Arc::clone(&MEMORY.lock());
    let mut memory = Memory::default();
    let compiled = text::with_deep_stack(|| compile_all(sources, signals, mode, &before, &mut memory));
    *MEMORY.lock() = Arc::new(memory);
    compiled
}

/// As [`compile()`], for a directory beside the one that is in force, which stays the one that is remembered.
///
/// # Errors
/// As [`compile()`].
pub fn compile_aside(sources: &Sources, signals: &[SignalSchema], mode: &Mode) -> Result<Compiled, Diagnostics> {
    let before = Arc::clone(&MEMORY.lock());
    text::with_deep_stack(|| compile_all(sources, signals, mode, &before, &mut Memory::default()))
}

fn compile_all(
    sources: &Sources,
    signals: &[SignalSchema],
    mode: &Mode,
    before: &Memory,
    memory: &mut Memory,
) -> Result<Compiled, Diagnostics> {
    let mut problems = Diagnostics(checks::strays(sources));
    let lists = checks::lists(sources, &mut problems);
    let entities = match &sources.entities {
        Some(file) => entities::read(file, &mut problems),
        None => EntityFile::default(),
    };
    let links = links::links(sources, &mut problems);
    let parsed = parsed::parse(sources, &links, before, memory, &mut problems);
    let known = Known {
        lists: lists.iter().map(|list| list.name.clone()).collect(),
        ..known(&entities, &parsed, signals, &mut problems)
    };
    let schema_json = model::schema(&known);
    let schemas = Schemas::new(&known, &schema_json.to_string());
    match Schema::from_json_value(schema_json.clone()) {
        Ok(schema) => {
            if let Some(file) = &sources.entities {
                memory.entities = Some(fingerprint((&file.text, schemas.of_entities())));
                let errors = problems.0.len();
                if memory.entities != before.entities {
                    entities::check(&entities, file, &schema, &mut problems);
                }
                memory.entities = memory.entities.filter(|_| problems.0.len() == errors);
            }
            validate(&parsed, schema, &schemas, &known, &mut problems);
        }
        // Names of attributes are the only part that is not ours, and Cedar takes any text for them.
        Err(error) => problems.0.push(Diagnostic::error("TG0307", crate::sources::ENTITIES, error.to_string())),
    }
    problems.0.extend(checks::groups(&parsed, &entities));
    problems.0.extend(checks::unread_lists(sources, &lists, &parsed));
    let policies = entries(parsed, &known, &mut problems);
    let entities_json = Value::Array(entities.values().collect()).to_string();
    let data = sources.data.as_ref().and_then(|files| data::compile(files, &known, &entities_json, &mut problems));
    problems.sort();
    if problems.has_errors() {
        return Err(problems);
    }
    let fingerprints = policies.iter().map(|policy| policy.fingerprint);
    let digest = Digest::of(fingerprints, of_text(&entities_json), mode).to_string();
    let schema_json = schema_json.to_string();
    let entity_schema_json = model::schema(&known.of_entities()).to_string();
    let mode = mode.clone();
    Ok(Compiled {
        policies,
        warnings: problems,
        digest,
        schema_json,
        entity_schema_json,
        entities_json,
        mode,
        lists,
        data,
    })
}

/// Every name that policies may use.
fn known(entities: &EntityFile, parsed: &[Parsed<'_>], signals: &[SignalSchema], problems: &mut Diagnostics) -> Known {
    let mut known = Known { attributes: entities.attributes.clone(), ..Known::default() };
    for schema in signals.iter().filter(|schema| !WITH_SIGNALS.contains(&schema.entity_type.as_str())) {
        let message = format!("entities of type `{}` have no signals", schema.entity_type);
        problems
            .0
            .push(Diagnostic::error("TG0402", "", message).suggest(&schema.entity_type, WITH_SIGNALS.iter().copied()));
    }
    known.add_signals(signals);
    known.headers = parsed.iter().flat_map(|policy| policy.learned.reads.headers.iter().cloned()).collect();
    known
}

fn validate(parsed: &[Parsed<'_>], schema: Schema, schemas: &Schemas, known: &Known, problems: &mut Diagnostics) {
    let mut set = PolicySet::new();
    let mut by_id = BTreeMap::new();
    for policy in parsed.iter().filter(|policy| !policy.learned.is_clean_under(schemas)) {
        by_id.insert(policy.number.to_string(), policy);
        policy.add_to(&mut set);
    }
    let unknown: BTreeMap<_, _> = by_id.values().map(|policy| (policy.number, checks::names(policy, known))).collect();
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let mut failed = Vec::new();
    let found = result.validation_errors().filter_map(|error| {
        let policy = by_id.get(&error.policy_id().to_string())?;
        Some((policy, cedar::validation(error, policy.site)))
    });
    let mut found: Vec<_> = found.collect();
    // Cedar gives them in no order. Of several at one place the shortest names what is nearest to the cause.
    found.sort_by_cached_key(|(policy, said)| {
        (policy.number, said.line, said.column, said.message.len(), said.message.clone())
    });
    for (policy, diagnostic) in found {
        failed.push(policy.number);
        // Our own check says more about a name that nothing has.
        let is_access = matches!(diagnostic.code, "TG0104" | "TG0107");
        let is_said = is_access && unknown[&policy.number].iter().any(|(name, _)| mentions(&diagnostic.message, name));
        if !is_said && !problems.0.iter().any(|other| is_same_place(other, &diagnostic)) {
            problems.0.push(diagnostic);
        }
    }
    for warning in result.validation_warnings() {
        let Some(policy) = by_id.get(&warning.policy_id().to_string()) else { continue };
        // A policy with an unknown name is often "impossible" as well, which only distracts.
        if !failed.contains(&policy.number) && unknown[&policy.number].is_empty() {
            let warning = cedar::warning(warning, policy.site);
            // Of a link it is the link that is not meant so: the template may suit others.
            problems.0.push(match policy.link() {
                Some(link) => link.diagnostic(Severity::Warning, warning.code, warning.message),
                None => warning,
            });
        }
    }
    let said = result.validation_errors().map(|error| error.policy_id().to_string());
    let warned = result.validation_warnings().map(|warning| warning.policy_id().to_string());
    let said: BTreeSet<_> = said.chain(warned).collect();
    let is_clean = |policy: &Parsed<'_>| unknown[&policy.number].is_empty();
    for (_, policy) in by_id.iter().filter(|(id, policy)| !said.contains(*id) && is_clean(policy)) {
        policy.learned.set_clean_under(schemas);
    }
    // A link reads what its template does, of which it is said.
    let is_link = |number: &usize| parsed.get(*number).is_some_and(|policy| policy.link().is_some());
    let unknown = unknown.into_iter().filter(|(number, _)| !is_link(number));
    problems.0.extend(unknown.flat_map(|(_, found)| found).map(|(_, diagnostic)| diagnostic));
}

/// Whether a message is about an attribute of this name.
fn mentions(message: &str, name: &str) -> bool {
    message.contains(&format!(".{name}`")) || message.contains(&format!("[\"{name}\"]`"))
}

/// The validator looks at each kind of request by itself and may say the same of several.
fn is_same_place(a: &Diagnostic, b: &Diagnostic) -> bool {
    (&a.file, a.line, a.column, a.code) == (&b.file, b.line, b.column, b.code)
}

/// Reads annotations and gives ids.
fn entries(parsed: Vec<Parsed<'_>>, known: &Known, problems: &mut Diagnostics) -> Vec<PolicyEntry> {
    let mut entries = Vec::new();
    let mut places: BTreeMap<Arc<str>, String> = BTreeMap::new();
    for policy in parsed {
        let learned = &policy.learned;
        let id = policy.id();
        let link = policy.link();
        if link.is_none() {
            problems.0.extend(learned.shaping.iter().filter_map(|shaping| checks::cost(&policy, shaping, known)));
            problems.0.extend(learned.problems.iter().map(|problem| policy.annotation_problem(problem)));
        }
        if let Some(other) = places.get(&id) {
            let message = format!("policy id `{id}` is taken by {other}");
            problems.0.push(match link {
                Some(link) => link.diagnostic(Severity::Error, "TG0204", message),
                None => policy.site.diagnostic(Severity::Error, "TG0204", policy.annotation_at("id", true), message),
            });
        } else {
            places.insert(Arc::clone(&id), policy.origin());
        }
        if matches!(policy.role, Role::Template) {
            continue;
        }
        let fingerprint = digest::of_policy(policy.kind, &id, policy.text());
        let bearing = Arc::clone(&learned.bearing);
        entries.push(PolicyEntry {
            fingerprint,
            bearing,
            id,
            kind: policy.kind,
            effect: learned.effect,
            shadow: learned.shadow,
            text: policy.text().to_owned(),
            origin: policy.origin(),
            template: link.map(|link| Arc::clone(&link.template)),
            shaping: learned.shaping.clone(),
        });
    }
    entries
}

/// Headers that a bucket counts by.
pub(crate) fn by_headers(shaping: &Shaping) -> impl Iterator<Item = Arc<str>> {
    shaping.by.iter().filter_map(|key| match key {
        ByKey::Header(name) => Some(Arc::clone(name)),
        _ => None,
    })
}
