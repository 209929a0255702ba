//! Least-privilege policies from requests that were seen, proven to deny none of them.

mod routes;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::routes::condition;
use super::format::format;
use super::ground::action;
use super::judge::Judge;
use super::replay::{Combination, ReplayTotals, replay};
use crate::compile::{Mode, compile};
use crate::entities::is_service_id;
use crate::sources::{SourceFile, Sources};

/// Where the suggested policies would be written.
const FILE: &str = "access/suggested.cedar";

/// Policies that permit what was seen and little else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Cedar text, ready to be saved.
    pub text: String,
    /// How many policies it holds.
    pub policies: usize,
    /// What the policies say of the requests that they were made from: none is denied.
    pub proof: ReplayTotals,
    /// Callers and called services whose names are not `namespace/name`, for which nothing could be suggested.
    pub left_out: BTreeSet<String>,
}

/// Methods that were seen, by route or path.
type Seen = BTreeMap<Target, BTreeSet<&'static str>>;

/// What a request was about within the called service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A route's template.
    Route(String),
    /// A path, where no route is known.
    Path(String),
}

/// Suggests one policy for each caller, called service and set of methods, with the routes as its condition.
///
/// Requests that were refused at the time are permitted as well: leave out those that were refused rightly.
///
/// # Errors
/// When the policies would deny one of the requests after all, which would be a mistake of this function.
pub fn suggest(combinations: &[Combination], entities: Option<&SourceFile>) -> Result<Suggestion, String> {
    let mut seen: BTreeMap<(&str, &str), Seen> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    let mut used = Vec::new();
    for combination in combinations {
        let facts = &combination.facts;
        let wrong = [&facts.source, &facts.destination].into_iter().find(|id| !id.is_empty() && !is_service_id(id));
        if let Some(wrong) = wrong.or_else(|| facts.destination.is_empty().then_some(&facts.destination)) {
            left_out.insert(wrong.clone());
            continue;
        }
        let target =
            if facts.route.is_empty() { Target::Path(facts.path.clone()) } else { Target::Route(facts.route.clone()) };
        let methods = seen.entry((&facts.destination, &facts.source)).or_default().entry(target).or_default();
        methods.insert(action(&facts.method));
        used.push(combination.clone());
    }
    let mut text = String::new();
    let mut ids = BTreeSet::new();
    for ((destination, source), targets) in &seen {
        for (methods, targets) in by_methods(targets) {
            let has_others = by_methods_count(&seen[&(*destination, *source)]) > 1;
            let mut id = id(source, destination, &methods, has_others);
            // Names that differ only in what an id cannot hold.
            while !ids.insert(id.clone()) {
                id.push('_');
            }
            text.push_str(&policy(&id, source, destination, &methods, &targets));
        }
    }
    let text = if text.is_empty() { text } else { format(FILE, &text).map_err(|error| error.to_string())? };
    let proof = prove(&text, entities, used)?;
    Ok(Suggestion { text, policies: ids.len(), proof, left_out })
}

/// Targets that were asked for by the same methods are permitted by one policy.
fn by_methods(targets: &Seen) -> BTreeMap<BTreeSet<&'static str>, Vec<&Target>> {
    let mut grouped: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (target, methods) in targets {
        grouped.entry(methods.clone()).or_default().push(target);
    }
    grouped
}

fn by_methods_count(targets: &Seen) -> usize {
    targets.values().collect::<BTreeSet<_>>().len()
}

fn policy(id: &str, source: &str, destination: &str, methods: &BTreeSet<&'static str>, targets: &[&Target]) -> String {
    let principal = if source.is_empty() {
        "principal is Anonymous".to_owned()
    } else {
        format!("principal == Service::{}", quoted(source))
    };
    let action = match methods.iter().collect::<Vec<_>>().as_slice() {
        [method] => format!("action == Action::\"{method}\""),
        methods => {
            let methods: Vec<_> = methods.iter().map(|method| format!("Action::\"{method}\"")).collect();
            format!("action in [{}]", methods.join(", "))
        }
    };
    let resource = format!("resource == Service::{}", quoted(destination));
    let condition = condition(targets).map(|condition| format!(" when {{ {condition} }}")).unwrap_or_default();
    format!("@id(\"{id}\")\npermit ({principal}, {action}, {resource}){condition};\n")
}

/// `shop.storefront-calls-shop.catalog`, with the methods where there is more than one policy.
fn id(source: &str, destination: &str, methods: &BTreeSet<&'static str>, has_others: bool) -> String {
    let plain = |name: &str| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '.' };
        name.chars().map(plain).collect()
    };
    let caller = if source.is_empty() { "anonymous".to_owned() } else { plain(source) };
    let mut id = format!("{caller}-calls-{}", plain(destination));
    if has_others {
        let methods: Vec<_> = methods.iter().map(|method| method.to_lowercase()).collect();
        id = format!("{id}-{}", methods.join("-"));
    }
    // Ids are at most 128 bytes long.
    if id.len() > 120 {
        let sum = id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        id = format!("{}-{sum:08x}", &id[..110]);
    }
    id
}

/// A text of Cedar.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

fn prove(text: &str, entities: Option<&SourceFile>, combinations: Vec<Combination>) -> Result<ReplayTotals, String> {
    let file = SourceFile { path: FILE.to_owned(), text: text.to_owned() };
    let sources = Sources { access: vec![file], entities: entities.cloned(), ..Sources::default() };
    let compiled = compile(&sources, &[], &Mode::default()).map_err(|problems| problems.to_string())?;
    let judge = Judge::new(&compiled)?;
    let allowed = combinations.into_iter().map(|combination| Combination {
        decision: "allow".to_owned(),
        reason: "permitted".to_owned(),
        ..combination
    });
    let proof = replay(None, &judge, allowed, |_| {});
    match proof.findings.first() {
        Some(finding) => Err(format!(
            "the suggested policies would not permit {} {} {}: please report this",
            finding.source, finding.destination, finding.route
        )),
        None => Ok(proof.totals),
    }
}
