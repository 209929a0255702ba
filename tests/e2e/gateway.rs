//! A gateway stands in for services that have no proxy of their own: access and limits bind there.

use serde_json::json;

use crate::harness::{Answer, Backend, Client, Engine, Proxy, Workspace, until};

const ACCESS: &str = r#"
@id("storefront-reads")
permit (principal == Service::"shop/storefront", action in Action::"read", resource in Namespace::"shop");
"#;

const SHAPING: &str = r#"
@id("search-few") @limit("1/h") @burst("2")
permit (principal, action, resource == Service::"shop/search");
"#;

#[tokio::test(flavor = "multi_thread")]
async fn access_and_limits_bind_at_the_gateway() {
    let workspace = Workspace::new(&[("access/shop.cedar", ACCESS), ("shaping/search.cedar", SHAPING)]);
    let engine = Engine::start(&workspace).await;
    let (catalog, search) = (Backend::start().await, Backend::start().await);
    let yaml = format!(
        "name: edge-1\nengine: http://{}\nidentity: header\nworkers: 1\ngateway: {{ listen: 127.0.0.1:0 }}\n\
         services:\n  shop/catalog: [{}]\n  shop/search: [{}]\n",
        engine.grpc, catalog.address, search.address
    );
    let edge = Proxy::start(&workspace, "edge-1", &yaml).await;
    engine.wait_enforced(1).await;

    let mut client = Client::new(edge.gateway());
    assert_eq!(ask(&mut client, "shop/storefront", "catalog.shop").await.status, 200);
    let denied = ask(&mut client, "shop/intruder", "catalog.shop").await;
    assert_eq!(denied.status, 403, "{}", denied.text());
    for expected in [200, 200, 429] {
        assert_eq!(ask(&mut client, "shop/storefront", "search.shop").await.status, expected);
    }
    // A gateway is the edge: a name that it does not know is not found there, rather than a broken service behind.
    assert_eq!(ask(&mut client, "shop/storefront", "nobody.shop").await.status, 404);
    assert_eq!((catalog.count(), search.count()), (1, 2));

    until("every request has its row", || async { engine.number("SELECT count(*) FROM requests").await >= 6 }).await;
    let rows = engine
        .sql(
            "SELECT direction, destination, decision, reason, policies, count(*) AS requests FROM requests \
             WHERE destination IN ('shop/catalog', 'shop/search') GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3",
        )
        .await;
    let row = |destination: &str, decision: &str, reason: &str, policies: &[&str], requests: u32| {
        let policies = (!policies.is_empty()).then_some(policies);
        json!({
            "direction": "gateway", "destination": destination, "decision": decision, "reason": reason,
            "policies": policies, "requests": requests,
        })
    };
    assert_eq!(
        rows,
        [
            row("shop/catalog", "allow", "permitted", &["storefront-reads"], 1),
            row("shop/catalog", "deny", "no_permit", &[], 1),
            row("shop/search", "allow", "permitted", &["storefront-reads"], 2),
            row("shop/search", "limit", "rate", &["search-few"], 1),
        ]
    );
}

async fn ask(client: &mut Client, source: &str, host: &str) -> Answer {
    client.send("GET", "/", &[("x-tollgate-source", source), ("host", host)], b"").await.unwrap()
}
