//! What is right and probably not meant: duplicates, policies that can never matter, limits that never bind.
//!
//! Asked for by `tollgate policy check`, and not when a directory is loaded: it looks at policies in pairs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::bounds::Bound;
use super::clauses::{clauses, effect_at};
use super::cover::{Conjunct, conjuncts, constant, contradiction, covers};
use super::ground::{Ground, Uid};
use super::judge::Judge;
use super::rule::Rule;
use crate::cedar::Site;
use crate::compile::{Compiled, Effect, PolicyKind};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::links::{LINKS, Linked, Links, is_template, links};
use crate::model::{NAMESPACE, SERVICE, USER, namespace};
use crate::shaping::{Concurrency, Shaping};
use crate::sources::Sources;
use crate::text::{self, with_deep_stack};

use cedar_policy::pst::Clause;

/// Warnings about policies that were compiled from these sources.
#[must_use]
pub fn lint(sources: &Sources, compiled: &Compiled) -> Diagnostics {
    with_deep_stack(|| lint_all(sources, compiled))
}

fn lint_all(sources: &Sources, compiled: &Compiled) -> Diagnostics {
    let mut problems = Diagnostics::default();
    let links = links(sources, &mut Diagnostics::default());
    let (Ok(judge), sites) = (Judge::new(compiled), sites(sources, &links)) else { return problems };
    // Not the sources that they were compiled from: there is no place to name.
    if sites.len() != judge.rules.len() {
        return problems;
    }
    let linted: Vec<_> = judge
        .rules
        .iter()
        .zip(sites)
        .map(|(rule, site)| Linted { rule, site, conjuncts: conjuncts(rule), is_dead: is_dead(rule, site, compiled) })
        .collect();
    let index = Index::new(&linted);
    for (number, policy) in linted.iter().enumerate() {
        problems.0.extend(unknown_entities(policy, &judge.ground));
        problems.0.extend(constant_clauses(policy));
        problems.0.extend(covered(number, &linted, &index, &judge.ground));
    }
    problems.sort();
    problems
}

struct Linted<'a> {
    rule: &'a Rule,
    site: Site<'a>,
    conjuncts: BTreeSet<Conjunct>,
    /// Whether Cedar's validator has already said that it never matches.
    is_dead: bool,
}

impl Linted<'_> {
    fn at_effect(&self, code: &'static str, message: String) -> Diagnostic {
        let end = self.site.start + self.rule.entry.text.len();
        let statement = self.site.text.get(self.site.start..end).unwrap_or_default();
        self.site.diagnostic(Severity::Warning, code, effect_at(statement), message)
    }

    fn name(&self) -> String {
        format!("`{}` ({})", self.rule.entry.id, self.rule.entry.origin)
    }
}

/// The place of each policy, in the order in which they are compiled.
fn sites<'a>(sources: &'a Sources, links: &'a Links<'a>) -> Vec<Site<'a>> {
    let mut sites = Vec::new();
    for file in sources.access.iter().chain(&sources.shaping) {
        for range in text::statements(&file.text) {
            let site = Site { file: &file.path, text: &file.text, start: range.start, link: None };
            if is_template(&file.text[range]) {
                sites.extend(links.of(site).iter().map(Linked::site));
            } else {
                sites.push(site);
            }
        }
    }
    sites
}

fn is_dead(rule: &Rule, site: Site<'_>, compiled: &Compiled) -> bool {
    let (file, lines) = match site.link {
        Some(link) => (LINKS, link.at.0..=link.at.0),
        None => {
            let first = text::place(site.text, site.start).0;
            (site.file, first..=first + rule.entry.text.matches('\n').count())
        }
    };
    let mut warnings = compiled.warnings.0.iter().filter(|warning| warning.code == "TG0110" && warning.file == file);
    warnings.any(|warning| lines.contains(&warning.line))
}

/// Entities in the scope of which `entities.json`, which lists others like them, says nothing. Groups are checked when a
/// directory is loaded.
fn unknown_entities(policy: &Linted<'_>, ground: &Ground) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let bounds = &policy.rule.bounds;
    for uid in [&bounds.principal, &bounds.resource].into_iter().filter_map(Bound::uid) {
        let known: BTreeSet<&str> = match uid.of_type.as_str() {
            SERVICE | USER => ids(ground, &uid.of_type).collect(),
            NAMESPACE => ids(ground, NAMESPACE).chain(ids(ground, SERVICE).map(namespace)).collect(),
            _ => continue,
        };
        if known.is_empty() || known.contains(uid.id.as_str()) {
            continue;
        }
        let at = text::find_word(&policy.rule.entry.text, &uid.id).unwrap_or(0);
        let message = format!("entities.json does not mention `{uid}`");
        let warning = policy.site.diagnostic(Severity::Warning, "TG0604", at, message);
        warnings.push(warning.suggest(&uid.id, known));
    }
    warnings
}

fn ids<'a>(ground: &'a Ground, of_type: &str) -> impl Iterator<Item = &'a str> {
    ground.uids().filter(move |uid| uid.of_type == of_type).map(|uid| uid.id.as_str())
}

/// Conditions that are always true or always false.
fn constant_clauses(policy: &Linted<'_>) -> Vec<Diagnostic> {
    let places = clauses(&policy.rule.entry.text);
    let mut warnings = Vec::new();
    for (clause, place) in policy.rule.syntax.clauses().iter().zip(&places) {
        let (value, is_when) = match clause {
            Clause::When(expr) => (constant(expr), true),
            Clause::Unless(expr) => (constant(expr), false),
        };
        let Some(value) = value else { continue };
        let word = if is_when { "when" } else { "unless" };
        // That it never matches is worth one warning, which the validator may have given.
        if value == is_when || !policy.is_dead {
            let meaning = if value == is_when { "does nothing" } else { "keeps the policy from ever matching" };
            let message = format!("the condition of this `{word}` is always {value}, so that it {meaning}");
            warnings.push(policy.site.diagnostic(Severity::Warning, "TG0605", place.at, message));
        }
    }
    if warnings.is_empty()
        && !policy.is_dead
        && let (Some(why), Some(place)) = (contradiction(&policy.conjuncts), places.first())
    {
        let message = format!("the policy never matches: {why}");
        warnings.push(policy.site.diagnostic(Severity::Warning, "TG0605", place.at, message));
    }
    warnings
}

/// Policies by the entity that their resource is bound to, `None` for those that name none: what covers a policy names
/// the same, or something above it, or nothing.
struct Index(HashMap<(PolicyKind, Option<Uid>), Vec<usize>>);

impl Index {
    fn new(linted: &[Linted<'_>]) -> Self {
        let mut places: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, policy) in linted.iter().enumerate() {
            let key = (policy.rule.entry.kind, policy.rule.bounds.resource.uid().cloned());
            places.entry(key).or_default().push(number);
        }
        Self(places)
    }

    /// Policies that may cover this one, in order.
    fn candidates(&self, policy: &Linted<'_>, ground: &Ground) -> Vec<usize> {
        let kind = policy.rule.entry.kind;
        let uid = policy.rule.bounds.resource.uid();
        let above = uid.map(|uid| ground.ancestors(uid)).unwrap_or_default();
        let keys = [None].into_iter().chain([uid.cloned()]).chain(above.into_iter().map(Some));
        let keys: BTreeSet<_> = keys.collect();
        let mut found: Vec<_> =
            keys.into_iter().filter_map(|key| self.0.get(&(kind, key))).flatten().copied().collect();
        found.sort_unstable();
        found
    }
}

/// The first thing that makes a policy pointless, if any.
fn covered(number: usize, linted: &[Linted<'_>], index: &Index, ground: &Ground) -> Option<Diagnostic> {
    let policy = &linted[number];
    if policy.is_dead {
        return None;
    }
    let mut said: BTreeMap<u8, Diagnostic> = BTreeMap::new();
    for other_number in index.candidates(policy, ground) {
        let other = &linted[other_number];
        if other_number == number || other.is_dead || other.rule.entry.shadow != policy.rule.entry.shadow {
            continue;
        }
        let covers = |wide: &Linted<'_>, narrow: &Linted<'_>| {
            covers((wide.rule, &wide.conjuncts), (narrow.rule, &narrow.conjuncts), ground)
        };
        if !covers(other, policy) {
            continue;
        }
        // Of two that cover each other the later one is pointless.
        let is_pointless = other_number < number || !covers(policy, other);
        let found = match (&policy.rule.entry.shaping, &other.rule.entry.shaping) {
            (Some(own), Some(others)) => limit(policy, own, other, others, is_pointless),
            _ => access(policy, other, is_pointless),
        };
        if let Some((rank, diagnostic)) = found {
            said.entry(rank).or_insert(diagnostic);
        }
    }
    said.into_values().next()
}

fn is_same(one: &Linted<'_>, other: &Linted<'_>) -> bool {
    one.rule.bounds == other.rule.bounds && one.conjuncts == other.conjuncts
}

fn access(policy: &Linted<'_>, other: &Linted<'_>, is_pointless: bool) -> Option<(u8, Diagnostic)> {
    let name = other.name();
    match (policy.rule.entry.effect, other.rule.entry.effect) {
        (own, others) if own == others && is_pointless && is_same(policy, other) => {
            let message = format!("says the same as {name}");
            Some((1, policy.at_effect("TG0601", message).help("remove one of the two")))
        }
        (Effect::Permit, Effect::Forbid) => {
            let message = format!("never permits anything: {name} forbids all of it");
            Some((0, policy.at_effect("TG0602", message)))
        }
        (Effect::Permit, Effect::Permit) if is_pointless => {
            let message = format!("permits nothing that {name} does not permit");
            Some((2, policy.at_effect("TG0603", message).help("remove it, or narrow the other")))
        }
        (Effect::Forbid, Effect::Forbid) if is_pointless => {
            let message = format!("forbids nothing that {name} does not forbid");
            Some((2, policy.at_effect("TG0603", message).help("remove it, or narrow the other")))
        }
        _ => None,
    }
}

fn limit(
    policy: &Linted<'_>,
    own: &Shaping,
    other: &Linted<'_>,
    others: &Shaping,
    is_pointless: bool,
) -> Option<(u8, Diagnostic)> {
    if is_pointless && is_same(policy, other) && is_same_shaping(own, others) {
        let message = format!("says the same as {}", other.name());
        return Some((1, policy.at_effect("TG0601", message).help("remove one of the two")));
    }
    // A bucket that counts by less holds together what this one's buckets hold apart.
    if !others.by.iter().all(|key| own.by.contains(key)) || own.cost != others.cost {
        return None;
    }
    let binds_rate = match (&own.limit, &others.limit) {
        (Some(own), Some(others)) => {
            let is_tighter = others.rate <= own.rate && others.burst <= own.burst;
            let is_equal = others.rate == own.rate && others.burst == own.burst;
            !is_tighter || (is_equal && !is_pointless)
        }
        (Some(_), None) => true,
        (None, _) => false,
    };
    let binds_concurrency = match (own.concurrency, others.concurrency) {
        (Some(Concurrency::Fixed(own)), Some(Concurrency::Fixed(others))) => {
            others > own || (others == own && !is_pointless)
        }
        (Some(_), _) => true,
        (None, _) => false,
    };
    let has_bound = own.limit.is_some() || own.concurrency.is_some();
    if !has_bound || binds_rate || binds_concurrency {
        return None;
    }
    let message = format!("its limit can never bind: {} is at least as tight wherever it applies", other.name());
    Some((2, policy.at_effect("TG0606", message)))
}

fn is_same_shaping(one: &Shaping, other: &Shaping) -> bool {
    // Where it applies is compared by its bounds.
    let other = Shaping { scope: one.scope.clone(), ..other.clone() };
    *one == other
}
