use insta::assert_snapshot;
use tollgate_policies::tools::{Judge, RequestFacts, explain};

use crate::support::{judge, starter};

fn said(judge: &Judge, request: &str) -> String {
    let facts: RequestFacts = serde_json::from_str(request).unwrap();
    explain(judge, &facts, Some(12)).unwrap().to_string()
}

#[test]
fn names_the_nearest_permit_and_what_it_lacks() {
    let judge = Judge::new(&starter()).unwrap();
    assert_snapshot!(said(
        &judge,
        r#"{ "source": "customers/free", "destination": "shop/catalog", "method": "GET", "path": "/items/1" }"#
    ));
}

#[test]
fn shows_the_values_that_conditions_read() {
    let judge = Judge::new(&starter()).unwrap();
    assert_snapshot!(said(
        &judge,
        r#"{ "source": "jobs/reindex", "destination": "shop/search", "method": "GET", "path": "/search",
             "signals": { "shop/search": { "p99_ms": 512, "error_pct": 3 } } }"#
    ));
    assert_snapshot!(said(
        &judge,
        r#"{ "source": "jobs/reindex", "destination": "shop/search", "method": "GET", "path": "/search" }"#
    ));
}

#[test]
fn shows_every_shape_of_condition() {
    let judge = judge(
        "@id(\"a\") permit (principal, action, resource) when { !(context.path like \"/admin/*\" || context has user) }\n\
         unless { if context.headers has \"x-a\" then context.headers[\"x-a\"] == \"1\" else false };\n\
         @id(\"fails\") forbid (principal has weight, action, resource);"
            .replace("principal has weight", "principal is Service")
            .replace("resource);", "resource) when { principal has weight && principal.weight + 9223372036854775807 > 0 };")
            .as_str(),
        "",
    );
    assert_snapshot!(said(
        &judge,
        r#"{ "source": "customers/free", "destination": "shop/cart", "method": "POST", "path": "/admin/x", "headers": { "x-a": "2" } }"#
    ));
    assert_snapshot!(said(
        &judge,
        r#"{ "destination": "shop/cart", "method": "POST", "path": "/admin/x", "user": "ann" }"#
    ));
}

#[test]
fn the_explanation_is_data_too() {
    let judge = Judge::new(&starter()).unwrap();
    let request = r#"{ "source": "jobs/reindex", "destination": "shop/search", "method": "GET", "signals": { "shop/search": { "p99_ms": 9 } } }"#;
    let explanation = explain(&judge, &serde_json::from_str(request).unwrap(), None).unwrap();
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["decision"], "allow");
    assert_eq!(json["considered"][0]["conditions"][0]["parts"][0]["parts"][1]["reads"][0]["value"], "9");
}
