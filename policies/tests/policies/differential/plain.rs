//! Plain Cedar: every policy, every entity, its own authorizer, with the schema checking all that it is given.

use std::collections::BTreeSet;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, EntityUid, Policy, PolicyId, PolicySet,
    Request, Schema, SlotId, Template,
};
use serde_json::{Value, json};
use tollgate_policies::{Compiled, Verdict};

use super::generate::{Asked, Population, SERVICES, UNLISTED, USERS};
use super::policies::Statement;
use crate::support::on_no_list;

pub(crate) struct Plain<'a> {
    compiled: &'a Compiled,
    policies: PolicySet,
    schema: Schema,
    entities: Entities,
}

/// Decision and determining policies of an enforcer.
pub(crate) fn said(verdict: &Verdict) -> String {
    format!("{} [{}]", verdict.decision, verdict.policies.join(","))
}

impl<'a> Plain<'a> {
    pub(crate) fn new(compiled: &'a Compiled, statements: &[Statement], population: &Population) -> Self {
        let mut policies = PolicySet::new();
        // Policies and links are compiled in the order in which they are written.
        let mut index = 0..;
        let mut next = || PolicyId::new(index.next().unwrap_or(0).to_string());
        for (number, statement) in statements.iter().enumerate() {
            let Some(links) = &statement.links else {
                policies.add(Policy::parse(Some(next()), &statement.text).unwrap()).unwrap();
                continue;
            };
            let template = PolicyId::new(format!("template {number}"));
            policies.add_template(Template::parse(Some(template.clone()), &statement.text).unwrap()).unwrap();
            for link in links {
                let slots = [(SlotId::principal(), &link.principal), (SlotId::resource(), &link.resource)];
                let slots =
                    slots.into_iter().filter_map(|(slot, entity)| Some((slot, entity.as_ref()?.parse().unwrap())));
                policies.link(template.clone(), next(), slots.collect()).unwrap();
            }
        }
        let schema = Schema::from_json_str(&compiled.schema_json).unwrap();
        let entities = entities(population, &schema);
        Self { compiled, policies, schema, entities }
    }

    /// Decision and determining policies. The one difference to Cedar: a `forbid` that fails denies.
    pub(crate) fn decide(&self, asked: &Asked) -> String {
        let response = Authorizer::new().is_authorized(&self.request(asked), &self.policies, &self.entities);
        let reasons = self.ids(response.diagnostics().reason());
        let failed = response.diagnostics().errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        });
        let failed = self.ids(failed.filter(|id| self.policies.policy(id).unwrap().effect() == Effect::Forbid));
        match response.decision() {
            Decision::Deny if !reasons.is_empty() => format!("deny [{reasons}]"),
            _ if !failed.is_empty() => format!("deny [{failed}]"),
            Decision::Deny => "deny []".to_owned(),
            Decision::Allow => format!("allow [{reasons}]"),
        }
    }

    fn ids<'i>(&self, ids: impl Iterator<Item = &'i PolicyId>) -> String {
        let indices: BTreeSet<usize> = ids.map(|id| id.to_string().parse().unwrap()).collect();
        indices.into_iter().map(|index| &*self.compiled.policies[index].id).collect::<Vec<_>>().join(",")
    }

    fn request(&self, asked: &Asked) -> Request {
        let method = if asked.method == "BREW" { "OTHER" } else { asked.method };
        let principal = if asked.source.is_empty() { uid("Anonymous", "caller") } else { uid("Service", asked.source) };
        let action = uid("Action", method);
        let context = Context::from_json_value(on_no_list(self.context(asked)), Some((&self.schema, &action))).unwrap();
        Request::new(principal, action, uid("Service", asked.destination), context, Some(&self.schema)).unwrap()
    }

    fn context(&self, asked: &Asked) -> Value {
        let mut context = json!({
            "method": asked.method, "path": asked.path, "host": "host", "scheme": "", "protocol": "", "user_agent": "",
            "is_mtls": asked.is_mtls, "time": "2026-06-01T12:00:00Z", "headers": {},
        });
        if !asked.route.is_empty() {
            context["route"] = asked.route.into();
        }
        if !asked.user.is_empty() {
            context["user"] = json!({ "type": "User", "id": asked.user });
        }
        if let Some(address) = asked.address {
            context["source_address"] = address.to_canonical().to_string().into();
        }
        // The schema knows only headers that policies name.
        for (name, value) in asked.headers.iter().filter(|(name, _)| self.compiled.schema_json.contains(&**name)) {
            context["headers"][&**name] = value.as_str().into();
        }
        context
    }
}

/// Everything that is written, and everything that exists without being written.
fn entities(population: &Population, schema: &Schema) -> Entities {
    let mut entities = population.entities.clone();
    let services: Vec<_> = SERVICES.iter().chain(UNLISTED).copied().collect();
    let namespaces: BTreeSet<_> = services.iter().map(|id| namespace(id)).collect();
    let services = services.iter().map(|id| ("Service", *id));
    let namespaces = namespaces.iter().map(|id| ("Namespace", *id));
    let users = USERS.iter().chain(&["unknown"]).map(|id| ("User", *id));
    for (of_type, id) in services.chain(namespaces).chain(users).chain([("Anonymous", "caller")]) {
        let uid = json!({ "type": of_type, "id": id });
        if !entities.iter().any(|entity| entity["uid"] == uid) {
            entities.push(json!({ "uid": uid }));
        }
    }
    entities.iter_mut().for_each(|entity| complete(entity, population));
    Entities::from_json_value(Value::Array(entities), Some(schema)).unwrap()
}

fn complete(entity: &mut Value, population: &Population) {
    let (of_type, id) = (entity["uid"]["type"].clone(), entity["uid"]["id"].as_str().unwrap().to_owned());
    let fields = entity.as_object_mut().unwrap();
    let parents = fields.entry("parents").or_insert(json!([])).as_array_mut().unwrap();
    if of_type == "Service" {
        parents.push(json!({ "type": "Namespace", "id": namespace(&id) }));
    }
    let attributes = fields.entry("attrs").or_insert(json!({}));
    if of_type != "Group" {
        let signal = population.signals.iter().find(|(name, _)| of_type == "Service" && *name == id);
        attributes["signals"] = match signal {
            Some((_, Some(p99_ms))) => json!({ "p99_ms": p99_ms }),
            _ => json!({}),
        };
    }
}

fn namespace(service: &str) -> &str {
    service.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn uid(of_type: &str, id: &str) -> EntityUid {
    format!("{of_type}::\"{id}\"").parse().unwrap()
}
