//! The Cedar schema of policies on data.

use serde_json::{Map, Value, json};

use crate::model::{ACTION, ENTITY_TYPES, Known, SERVICE, record, shape};

pub(super) const PERSON: &str = "Person";
pub(super) const TEAM: &str = "Team";
pub(super) const TABLE: &str = "Table";
pub(super) const COLUMN: &str = "Column";
pub(super) const REPORTER: &str = "Reporter";

/// The group of all that read.
pub(super) const READ: &str = "read";
pub(super) const READ_TABLE: &str = "readTable";
pub(super) const READ_COLUMN: &str = "readColumn";
pub(super) const READ_SERVICE: &str = "readService";
pub(super) const REPORT: &str = "report";

/// Services, namespaces and groups as `entities.json` has them, without signals; and what data are made of.
pub(super) fn schema(known: &Known) -> Value {
    let bare = Known { attributes: known.attributes.clone(), ..Known::default() };
    let shared = ENTITY_TYPES
        .iter()
        .map(|(name, parents)| ((*name).to_owned(), json!({ "memberOfTypes": parents, "shape": shape(name, &bare) })));
    let texts =
        |names: &[&str]| record(names.iter().map(|name| ((*name).to_owned(), json!({ "type": "String" }), true)));
    let own = [
        (TEAM, json!({ "memberOfTypes": [], "shape": texts(&[]) })),
        (PERSON, json!({ "memberOfTypes": [TEAM], "shape": texts(&["name"]) })),
        (TABLE, json!({ "memberOfTypes": [], "shape": texts(&["name"]) })),
        (COLUMN, json!({ "memberOfTypes": [TABLE], "shape": texts(&["name", "table"]) })),
        (REPORTER, json!({ "memberOfTypes": [], "shape": texts(&["name"]) })),
    ];
    let own = own.map(|(name, definition)| (name.to_owned(), definition));
    let reading = [(READ_TABLE, TABLE), (READ_COLUMN, COLUMN), (READ_SERVICE, SERVICE)].map(|(action, resource)| {
        let definition = json!({ "memberOf": [{ "type": ACTION, "id": READ }], "appliesTo": applies(resource) });
        (action.to_owned(), definition)
    });
    let others = [(READ.to_owned(), json!({})), (REPORT.to_owned(), json!({ "appliesTo": applies(REPORTER) }))];
    json!({ "": {
        "entityTypes": shared.chain(own).collect::<Map<_, _>>(),
        "actions": reading.into_iter().chain(others).collect::<Map<_, _>>(),
    } })
}

fn applies(resource: &str) -> Value {
    json!({ "principalTypes": [PERSON], "resourceTypes": [resource], "context": record([]) })
}
