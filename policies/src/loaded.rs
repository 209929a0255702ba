//! The policies of a snapshot, ready to be asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tollgate_api::v1;

use crate::compile::{PolicyKind, by_headers};
use crate::index::{Index, Indices};
use crate::needs::{Needs, SignalNeed};
use crate::reads::Whose;
use crate::rule::Rule;
use crate::world::Place;

/// Both sets of policies.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    digest: String,
    /// Access, then shaping.
    rules: Vec<Arc<Rule>>,
    /// How many of the rules are access policies.
    access: usize,
    by_fingerprint: HashMap<u128, Arc<Rule>>,
    index: Index,
    /// What any of them needs, but for entities.
    needs: Needs,
    pub(crate) headers: Arc<[Arc<str>]>,
    observe: bool,
    observed_services: HashSet<String>,
}

impl Loaded {
    /// Reads the policies of a snapshot, or says which one cannot be read. What has not changed is taken over from before.
    pub(crate) fn read(policies: &v1::Policies, before: Option<&Self>) -> Result<Self, String> {
        let read = |policies: &[v1::Policy], kind| {
            policies.iter().map(|policy| rule(policy, kind, before)).collect::<Result<Vec<_>, _>>()
        };
        let (access, shaping) =
            (read(&policies.access, PolicyKind::Access)?, read(&policies.shaping, PolicyKind::Shaping)?);
        let loaded = Self {
            digest: policies.digest.clone(),
            observe: policies.observe,
            observed_services: policies.observed_services.iter().cloned().collect(),
            ..Self::default()
        };
        Ok(loaded.with([access, shaping], &policies.headers))
    }

    /// These policies with some replaced by others.
    pub(crate) fn changed(&self, delta: &v1::PoliciesDelta) -> Result<Self, String> {
        let (access, shaping) = self.rules.split_at(self.access);
        let access = self.spliced(access, &delta.access, PolicyKind::Access)?;
        let shaping = self.spliced(shaping, &delta.shaping, PolicyKind::Shaping)?;
        let loaded = Self {
            digest: delta.digest.clone(),
            observe: delta.observe,
            observed_services: delta.observed_services.iter().cloned().collect(),
            ..Self::default()
        };
        Ok(loaded.with([access, shaping], &delta.headers))
    }

    fn spliced(&self, rules: &[Arc<Rule>], splices: &[v1::Splice], kind: PolicyKind) -> Result<Vec<Arc<Rule>>, String> {
        let mut spliced = Vec::with_capacity(rules.len());
        let mut rest = 0;
        for splice in splices {
            let start = splice.at as usize;
            let end = start.saturating_add(splice.removed as usize);
            let kept = rules.get(rest..start).filter(|_| end <= rules.len());
            spliced.extend_from_slice(kept.ok_or_else(|| format!("no policies {start} to {end} to be replaced"))?);
            for policy in &splice.added {
                spliced.push(rule(policy, kind, Some(self))?);
            }
            rest = end;
        }
        spliced.extend_from_slice(&rules[rest..]);
        Ok(spliced)
    }

    /// `headers` are those that policies elsewhere name.
    fn with(mut self, [access, shaping]: [Vec<Arc<Rule>>; 2], headers: &[String]) -> Self {
        self.access = access.len();
        self.rules = access;
        self.rules.extend(shaping);
        for rule in &self.rules {
            self.needs.add_names(&rule.needs);
        }
        self.by_fingerprint = self.rules.iter().map(|rule| (rule.fingerprint, Arc::clone(rule))).collect();
        self.index = Index::new(&self.rules);
        self.headers = self.wanted_headers(headers);
        self
    }

    /// To a policy that reads all headers they are those that any policy names, here or elsewhere: it must see the same
    /// wherever it is asked.
    fn wanted_headers(&self, elsewhere: &[String]) -> Arc<[Arc<str>]> {
        let elsewhere = elsewhere.iter().filter(|_| self.needs.all_headers).map(|name| Arc::from(name.as_str()));
        let mut headers: Vec<_> = self.rules.iter().flat_map(|rule| headers_of(rule)).chain(elsewhere).collect();
        headers.sort();
        headers.dedup();
        Arc::from(headers)
    }

    /// Tells these policies from others.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
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

/// A policy as it was before, or read.
fn rule(policy: &v1::Policy, kind: PolicyKind, before: Option<&Loaded>) -> Result<Arc<Rule>, String> {
    let same = before.and_then(|before| before.by_fingerprint.get(&Rule::fingerprint(policy, kind)));
    same.map_or_else(|| Rule::read(policy, kind).map(Arc::new), |rule| Ok(Arc::clone(rule)))
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
