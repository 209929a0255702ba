//! Who may read what the engine knows, and who may report: Cedar of its own, beside the policies of the mesh.
//!
//! `data/*.cedar` is evaluated by the engine alone and never pushed to a proxy. What no policy permits is denied, and so is
//! everything that a policy fails to decide. Without the directory there is no [`DataPolicies`], and everybody whom the
//! engine lets in reads everything.

mod compile;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, Policy, PolicySet, Request,
    ResourceConstraint, RestrictedExpression,
};

pub(crate) use self::compile::compile;
use self::schema::{COLUMN, PERSON, READ, READ_COLUMN, READ_SERVICE, READ_TABLE, REPORT, REPORTER, TABLE, TEAM};
use crate::diagnostics::Diagnostic;
use crate::model::SERVICE;
use crate::text;
use crate::world::{self, World, uid};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person<'a> {
    /// The name that a token or a certificate stands for.
    pub name: &'a str,
    /// Teams that the person is in.
    pub teams: &'a [Arc<str>],
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// To read a table or view at all.
    Table(&'a str),
    /// To read one of its columns: table and column.
    Column(&'a str, &'a str),
    /// To read rows about a service, `namespace/name`.
    Service(&'a str),
    /// To report under a reporter's name.
    Report(&'a str),
}

/// One of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPolicy {
    /// `@id`, or the file's stem and the policy's number in it.
    pub id: Arc<str>,
    /// Whether it forbids.
    pub is_forbid: bool,
    /// Cedar source of this one policy.
    pub text: String,
    /// Where it is written: `data/teams.cedar:12`.
    pub origin: String,
}

/// Policies on data that were checked whole.
#[derive(Debug)]
pub struct DataPolicies {
    set: PolicySet,
    policies: Vec<DataPolicy>,
    world: World,
    /// Tables and columns that the policies name, each with a diagnostic for the case that there is no such thing.
    named: Vec<(Named, Diagnostic)>,
    /// Tells these policies, and the entities that they read, from others.
    digest: u128,
}

/// A table, or a column as `table.column`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Table(String),
    Column(String),
}

impl DataPolicies {
    /// The policies, in the order of files and lines.
    #[must_use]
    pub fn policies(&self) -> &[DataPolicy] {
        &self.policies
    }

    /// Whether this decides the same as another.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether a person may do this. A policy that fails to evaluate denies.
    #[must_use]
    pub fn may(&self, person: Person<'_>, asked: Asked<'_>) -> bool {
        text::with_evaluation_stack(|| self.ask(&self.set, person, asked)).unwrap_or(false)
    }

    /// Whether a person may read rows about every service there is or will be: a policy without conditions says so of all
    /// resources, and none forbids anything of services.
    #[must_use]
    pub fn reads_every_service(&self, person: Person<'_>) -> bool {
        let mut unconditional = PolicySet::new();
        for policy in self.set.policies().filter(|policy| is_about_services(policy)) {
            if policy.effect() == Effect::Forbid {
                return false;
            }
            let is_any = match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Is(of_type) => of_type.to_string() == SERVICE,
                _ => false,
            };
            if is_any && !policy.has_non_scope_constraint() {
                // Ids are unique in the set that they come from.
                drop(unconditional.add(policy.clone()));
            }
        }
        let ask = || self.ask(&unconditional, person, Asked::Service("any/any"));
        text::with_evaluation_stack(ask).unwrap_or(false)
    }

    /// What is wrong with the names of tables and columns, given those that there are.
    #[must_use]
    pub fn unknown_names(&self, tables: &BTreeMap<String, Vec<String>>) -> Vec<Diagnostic> {
        let columns = tables.iter().flat_map(|(table, columns)| columns.iter().map(move |c| format!("{table}.{c}")));
        let columns: Vec<_> = columns.collect();
        let unknown = self.named.iter().filter_map(|(named, diagnostic)| match named {
            Named::Table(name) if !tables.contains_key(name) => {
                Some(diagnostic.clone().suggest(name, tables.keys().map(String::as_str)))
            }
            Named::Column(name) if !columns.contains(name) => {
                Some(diagnostic.clone().suggest(name, columns.iter().map(String::as_str)))
            }
            Named::Table(_) | Named::Column(_) => None,
        });
        unknown.collect()
    }

    /// `None` where the question cannot be put.
    fn ask(&self, set: &PolicySet, person: Person<'_>, asked: Asked<'_>) -> Option<bool> {
        let principal = uid(PERSON, person.name).ok()?;
        let teams = person.teams.iter().map(|team| uid(TEAM, team).ok()).collect::<Option<HashSet<_>>>()?;
        let mut entities: Vec<_> = teams.iter().cloned().map(bare).collect();
        entities.push(entity(principal.clone(), &[("name", person.name)], teams)?);
        let (action, resource) = self.resource(asked, &mut entities)?;
        let (action, read) = (world::action(action), world::action(READ));
        if action != world::action(REPORT) {
            entities.push(Entity::new_no_attrs(action.clone(), HashSet::from([read.clone()])));
            entities.push(bare(read));
        }
        let entities = match asked {
            // A service has what it has in `entities.json`.
            Asked::Service(name) => {
                let service = self.world.service(name);
                let from: Vec<_> = [service.uid].into_iter().chain(service.ancestors).collect();
                self.world.store(from.iter()).add_entities(entities, None).ok()?
            }
            _ => Entities::from_entities(entities, None).ok()?,
        };
        let request = Request::new(principal, action, resource, Context::empty(), None).ok()?;
        let answer = Authorizer::new().is_authorized(&request, set, &entities);
        let is_sound = answer.diagnostics().errors().next().is_none();
        Some(is_sound && answer.decision() == Decision::Allow)
    }

    /// The action, and the resource, which is put among the entities.
    fn resource(&self, asked: Asked<'_>, entities: &mut Vec<Entity>) -> Option<(&'static str, EntityUid)> {
        let mut put = |of_type: &str, id: &str, texts: &[(&str, &str)], parents: HashSet<EntityUid>| {
            let uid = uid(of_type, id).ok()?;
            entities.push(entity(uid.clone(), texts, parents)?);
            Some(uid)
        };
        Some(match asked {
            Asked::Table(table) => (READ_TABLE, put(TABLE, table, &[("name", table)], HashSet::new())?),
            Asked::Report(reporter) => (REPORT, put(REPORTER, reporter, &[("name", reporter)], HashSet::new())?),
            Asked::Service(name) => (READ_SERVICE, self.world.service(name).uid),
            Asked::Column(table, column) => {
                let parent = put(TABLE, table, &[("name", table)], HashSet::new())?;
                let texts = [("name", column), ("table", table)];
                (READ_COLUMN, put(COLUMN, &format!("{table}.{column}"), &texts, HashSet::from([parent]))?)
            }
        })
    }
}

/// Whether a policy can say anything of reading rows about services.
fn is_about_services(policy: &Policy) -> bool {
    let is_it = |uid: &EntityUid| matches!(uid.id().unescaped(), READ_SERVICE | READ);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is_it(&uid),
        ActionConstraint::In(uids) => uids.iter().any(is_it),
    }
}

fn bare(uid: EntityUid) -> Entity {
    Entity::new_no_attrs(uid, HashSet::new())
}

fn entity(uid: EntityUid, texts: &[(&str, &str)], parents: HashSet<EntityUid>) -> Option<Entity> {
    let attribute =
        |(name, text): &(&str, &str)| ((*name).to_owned(), RestrictedExpression::new_string((*text).to_owned()));
    Entity::new(uid, texts.iter().map(attribute).collect(), parents).ok()
}
