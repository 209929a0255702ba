use tollgate_policies::tools::diff;

use crate::support::{compiled, json};

#[test]
fn compares_by_meaning_rather_than_spelling() {
    let old = compiled(
        "@id(\"a\") permit (principal, action, resource);\n@id(\"b\") forbid (principal, action, resource) when { context.path==\"/\" };\n@id(\"c\") permit (principal in Group::\"free\", action, resource);",
        "@id(\"l\") @limit(\"60/m\") @burst(\"5\") permit (principal, action, resource);\n@id(\"m\") @limit(\"5/s\") permit (principal, action, resource);",
    );
    let new = compiled(
        "// moved\n@id(\"a\")\npermit(principal,action,resource);\n@id(\"b\") forbid (principal, action, resource) when { context.path == \"/b\" };\n@id(\"d\") permit (principal in Group::\"free\", action, resource);\n@id(\"e\") permit (principal, action == Action::\"GET\", resource);",
        "@id(\"l\") @limit(\"60/min\") @burst(\"5\") permit (principal, action, resource);\n@id(\"m\") @limit(\"9/s\") @by(\"principal\") permit (principal, action, resource);",
    );
    insta::assert_snapshot!(json(&diff(&old, &new).unwrap()));
    assert!(diff(&old, &old).unwrap().is_empty());
}
