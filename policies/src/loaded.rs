//! The policies of a snapshot, ready to be asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tollgate_api::v1;

use crate::compile::{PolicyKind, by_headers};
use crate::index::{Index, Indices};
use crate::needs::{Needs, SignalNeed};
use crate::reads::Whose;
use crate::rule::{Rule, fingerprint};
use crate::slice::{Slice, Standpoint};
use crate::world::{Place, World};

/// Both sets of policies.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Access, then shaping.
    rules: Vec<Arc<Rule>>,
    by_fingerprint: HashMap<u128, Arc<Rule>>,
    /// Policies that were left out, as long as the entities are the same, with the headers that each names.
    left_out: HashMap<u128, Box<[Arc<str>]>>,
    entities: u128,
    index: Index,
    /// What any of them needs, but for entities.
    needs: Needs,
    pub(crate) headers: Arc<[Arc<str>]>,
    observe: bool,
    observed_services: HashSet<String>,
}

impl Loaded {
    /// Reads the policies of a snapshot, or says which one cannot be read. What has not changed is taken over from before.
    pub(crate) fn read(
        policies: &v1::Policies,
        world: &World,
        standpoint: Option<&Standpoint>,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let slice = standpoint.map(|standpoint| Slice::new(standpoint, world));
        // Policies that were left out may be needed once the entities are others.
        let before = before.filter(|before| slice.is_none() || before.entities == world.fingerprint());
        let mut loaded = Self {
            entities: world.fingerprint(),
            observe: policies.observe,
            observed_services: policies.observed_services.iter().cloned().collect(),
            ..Self::default()
        };
        for (kind, policies) in [(PolicyKind::Access, &policies.access), (PolicyKind::Shaping, &policies.shaping)] {
            for policy in policies {
                let fingerprint = fingerprint((kind, &policy.id, &policy.text));
                if let Some(headers) = before.and_then(|before| before.left_out.get(&fingerprint)) {
                    loaded.left_out.insert(fingerprint, headers.clone());
                    continue;
                }
                let same = before.and_then(|before| before.by_fingerprint.get(&fingerprint));
                let rule = same.map_or_else(|| Rule::read(policy, kind).map(Arc::new), |rule| Ok(Arc::clone(rule)))?;
                if slice.as_ref().is_some_and(|slice| !slice.has(&rule)) {
                    loaded.left_out.insert(fingerprint, headers_of(&rule).collect());
                    continue;
                }
                loaded.needs.add_names(&rule.needs);
                loaded.by_fingerprint.insert(fingerprint, Arc::clone(&rule));
                loaded.rules.push(rule);
            }
        }
        loaded.index = Index::new(&loaded.rules);
        loaded.headers = loaded.wanted_headers();
        Ok(loaded)
    }

    /// To a policy that reads all headers they are those that any policy names, left out or not: it must see the same
    /// wherever it is asked.
    fn wanted_headers(&self) -> Arc<[Arc<str>]> {
        let left_out = self.left_out.values().flatten().filter(|_| self.needs.all_headers).cloned();
        let mut headers: Vec<_> = self.rules.iter().flat_map(|rule| headers_of(rule)).chain(left_out).collect();
        headers.sort();
        headers.dedup();
        Arc::from(headers)
    }

    /// The policies whose scopes match, in order.
    pub(crate) fn find(&self, principal: &Place, action: usize, resource: &Place) -> Indices {
        self.index.find(principal, action, resource)
    }

    pub(crate) fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    pub(crate) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub(crate) fn is_observed(&self, service: &str) -> bool {
        self.observe || self.observed_services.contains(service)
    }

    /// Attributes that an answer may depend on.
    pub(crate) fn depends_on(&self) -> Vec<String> {
        let mut names: Vec<_> = ["principal", "action", "resource"].map(str::to_owned).to_vec();
        if self.needs.whole_context {
            names.push("context".to_owned());
        }
        let plain = self.needs.context().filter(|(name, ..)| !self.needs.whole_context && *name != "headers");
        let mut plain: Vec<_> = plain.map(|(name, ..)| format!("context.{name}")).collect();
        plain.sort();
        names.extend(plain);
        names.extend(self.needs.headers.iter().map(|name| format!("context.headers[\"{name}\"]")));
        names.extend(self.needs.signals.iter().map(signal_name));
        let shaping = || self.rules.iter().filter_map(|rule| rule.shaping.as_ref());
        for name in shaping().flat_map(|shaping| shaping.by.iter().map(ToString::to_string)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Headers that a policy reads, or counts by.
fn headers_of(rule: &Rule) -> impl Iterator<Item = Arc<str>> {
    rule.needs.headers.iter().cloned().chain(rule.shaping.iter().flat_map(|shaping| by_headers(shaping)))
}

/// `resource.signals.p99_ms`; `*` stands for any entity, and for all signals.
fn signal_name(need: &SignalNeed) -> String {
    let of = match need.of {
        Whose::Principal => "principal",
        Whose::Resource => "resource",
        Whose::Any => "*",
    };
    format!("{of}.signals.{}", need.name.as_deref().unwrap_or("*"))
}
