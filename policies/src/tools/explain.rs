//! Why a request is decided as it is: every condition with the values that it read, and what the nearest permit lacked.

mod nearest;
mod print;
mod seen;

use std::sync::Arc;

use serde::Serialize;
use tollgate_attributes::{Decision, Reason};

pub use nearest::{Missing, NearestPermit};
pub use seen::{Seen, SeenCondition, SeenRead};

use super::asked::RequestFacts;
use super::judge::{Judge, Judgement, uids};
use super::rule::Rule;
use super::tree::{Ask, Truth};
use crate::compile::{Effect, PolicyKind};
use crate::text::with_deep_stack;

/// Why a request is decided as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision, but for how many tokens are left.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Version of the snapshot whose policies these are, where it is known.
    pub snapshot: Option<u64>,
    /// Digest of the policies.
    pub digest: String,
    /// `customers/free GET shop/search /items/1`.
    pub request: String,
    /// Policies whose scope the request is in, in the order in which they are written.
    pub considered: Vec<PolicyExplanation>,
    /// How many policies are about other requests by their scope.
    pub out_of_scope: usize,
    /// Where nothing permits it: the policy that came nearest.
    pub nearest: Option<NearestPermit>,
}

/// What one policy says of a request, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// The policy.
    pub id: Arc<str>,
    /// Where it is written.
    pub origin: String,
    /// The template that it is a link of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Arc<str>>,
    /// `permit`, `forbid` or `limit`.
    pub effect: &'static str,
    /// Whether it only says what it would have done.
    pub shadow: bool,
    /// `true`, `false` or the error.
    pub matches: String,
    /// The parts of its scope.
    pub scope: Vec<ScopeExplanation>,
    /// Its conditions.
    pub conditions: Vec<SeenCondition>,
}

/// One part of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeExplanation {
    /// `principal in Group::"free"`.
    pub text: String,
    /// Whether the request is within it.
    pub is_met: bool,
    /// The request's own entity.
    pub value: String,
}

/// Explains the decision about a request. `snapshot` is the version that these policies came with.
///
/// # Errors
/// When the request cannot be put into Cedar's terms.
pub fn explain(judge: &Judge, facts: &RequestFacts, snapshot: Option<u64>) -> Result<Explanation, String> {
    let judgement = judge.judge(facts)?;
    with_deep_stack(|| {
        let ask = judge.ask(facts)?;
        let in_scope = judge.in_scope(facts);
        let considered = in_scope.iter().map(|index| policy(judge, &judge.rules[*index], facts, &ask)).collect();
        let is_permitted = judgement.reason == Reason::Permitted;
        let nearest = (!is_permitted && judgement.policies.is_empty()).then(|| nearest::nearest(judge, facts, &ask));
        Ok(Explanation {
            snapshot,
            digest: judge.digest().to_owned(),
            request: request(facts),
            considered,
            out_of_scope: judge.rules.len() - in_scope.len(),
            nearest: nearest.flatten(),
            judgement,
        })
    })
}

impl Explanation {
    /// Whether the request passes, tokens aside.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.judgement.decision == Decision::Allow
    }
}

fn policy(judge: &Judge, rule: &Rule, facts: &RequestFacts, ask: &Ask) -> PolicyExplanation {
    let entry = &rule.entry;
    PolicyExplanation {
        id: Arc::clone(&entry.id),
        origin: entry.origin.clone(),
        template: entry.template.clone(),
        effect: match (entry.kind, entry.effect) {
            (PolicyKind::Shaping, _) => "limit",
            (PolicyKind::Access, Effect::Permit) => "permit",
            (PolicyKind::Access, Effect::Forbid) => "forbid",
        },
        shadow: entry.shadow,
        matches: match rule.truth(ask) {
            Truth::True => "true".to_owned(),
            Truth::False => "false".to_owned(),
            Truth::Failed(error) => error,
            Truth::Unsure(names) => format!("unknown without {}", names.join(", ")),
        },
        scope: scope(judge, rule, facts),
        conditions: seen::conditions(rule, ask),
    }
}

/// The three parts of a scope that say anything.
pub(super) fn scope(judge: &Judge, rule: &Rule, facts: &RequestFacts) -> Vec<ScopeExplanation> {
    let [principal, action, resource] = uids(facts);
    let ground = &judge.ground;
    let met = [
        rule.bounds.principal.matches(&principal, ground),
        rule.bounds.allows(&action),
        rule.bounds.resource.matches(&resource, ground),
    ];
    let texts = rule.bounds.texts().into_iter().zip(met).zip([principal, action, resource]);
    texts
        .filter(|((text, _), _)| text.contains(' '))
        .map(|((text, is_met), uid)| ScopeExplanation { text, is_met, value: uid.to_string() })
        .collect()
}

fn request(facts: &RequestFacts) -> String {
    let caller = if facts.source.is_empty() { "an anonymous caller" } else { &facts.source };
    format!("{caller} {} {} {}", facts.method, facts.destination, facts.path).trim_end().to_owned()
}
