//! Shaping: limits bind, across proxies, and say so.

use std::time::{Duration, Instant};

use tollgate_api::v1;

use crate::harness::{Backend, Client, Engine, Proxy, Workspace, eventually, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

#[tokio::test(flavor = "multi_thread")]
async fn over_a_limit_is_429_and_says_when_to_come_back() {
    let shaping = "@id(\"few\") @limit(\"1/h\") @burst(\"3\") @by(\"principal\")\npermit (principal, action in Action::\"read\", resource == Service::\"shop/catalog\");\n";
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("shaping/few.cedar", shaping)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;

    let mut client = Client::new(proxy.inbound());
    for _ in 0..3 {
        assert_eq!(client.get_as("shop/a", "/").await.status, 200);
    }
    let limited = client.get_as("shop/a", "/").await;
    assert_eq!(limited.status, 429, "{}", limited.text());
    assert_eq!(limited.header("ratelimit-policy"), "\"few\";q=1;w=3600");
    assert!(limited.header("ratelimit").starts_with("\"few\";r=0;t="), "{}", limited.header("ratelimit"));
    let retry: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=3700).contains(&retry), "{retry}");
    assert_eq!(limited.json()["policies"], serde_json::json!(["few"]));
    // What the policy does not match, and another principal's bucket, are untouched.
    assert_eq!(client.send("POST", "/", &[("x-tollgate-source", "shop/a")], b"x").await.unwrap().status, 200);
    assert_eq!(client.get_as("shop/b", "/").await.status, 200);

    let row = eventually("the refusal is in SQL", || async {
        engine
            .sql("SELECT source, reason, policies, status FROM requests WHERE decision = 'limit'")
            .await
            .into_iter()
            .next()
    })
    .await;
    assert_eq!(row, serde_json::json!({ "source": "shop/a", "reason": "rate", "policies": ["few"], "status": 429 }));
    assert_eq!(backend.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_share_one_limit() {
    let shaping = "@id(\"shared\") @limit(\"50/s\") @burst(\"10\")\npermit (principal, action, resource == Service::\"shop/catalog\");\n";
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("shaping/shared.cedar", shaping)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let first = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    let second = Proxy::in_front_of(&workspace, &engine, "catalog-2", "shop/catalog", backend.address).await;
    engine.wait_enforced(2).await;

    let started = Instant::now();
    let callers = [first.inbound(), second.inbound()].map(|address| {
        tokio::spawn(async move {
            let mut client = Client::new(address);
            let mut allowed = 0;
            while started.elapsed() < Duration::from_secs(4) {
                let status = client.get_as("shop/a", "/").await.status;
                assert!(status == 200 || status == 429, "{status}");
                allowed += u32::from(status == 200);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            allowed
        })
    });
    let mut allowed = 0;
    for caller in callers {
        allowed += caller.await.unwrap();
    }
    let most = 50.0 * started.elapsed().as_secs_f64() + 10.0 + 2.0;
    assert!(f64::from(allowed) <= most, "{allowed} allowed, and the limit is {most}");
    // Half of the limit at the least: each proxy alone has its lease. How near it comes to the whole is measured in tests/bench.
    assert!(f64::from(allowed) > most / 2.0, "{allowed} allowed of {most}");
    let rates = engine
        .sql("SELECT sum(rate + safe_rate) AS rate, count(*) AS leases FROM leases WHERE policy = 'shared'")
        .await;
    assert!(rates[0]["rate"].as_f64().unwrap() <= 50.0, "{rates:?}");
    assert_eq!(rates[0]["leases"], 2, "{rates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_request_waits_for_its_token() {
    let shaping = "@id(\"waits\") @limit(\"20/s\") @burst(\"1\") @queue(\"2s\") @priority(\"batch\")\npermit (principal, action, resource);\n";
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("shaping/waits.cedar", shaping)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let proxy = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    engine.wait_enforced(1).await;

    let started = Instant::now();
    // At the same time: one after the other they need not wait where each takes as long as a token.
    let asked: Vec<_> = (0..10)
        .map(|_| {
            let address = proxy.inbound();
            tokio::spawn(async move { Client::new(address).get_as("shop/a", "/").await.status })
        })
        .collect();
    for status in asked {
        assert_eq!(status.await.unwrap(), 200);
    }
    // Nine tokens at 20 a second; the first was there.
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    until("the rows say how long they waited", || async {
        engine.number("SELECT count(*) FROM requests WHERE queued_us > 1000 AND priority = 'batch'").await >= 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_decides_for_whoever_cannot() {
    let shaping = "@id(\"few\") @limit(\"1/h\") @burst(\"2\")\npermit (principal, action, resource == Service::\"shop/search\");\n";
    let access = "@id(\"inside\") permit (principal in Namespace::\"shop\", action, resource) when { context.path like \"/open/*\" };\n";
    let workspace = Workspace::new(&[("access/a.cedar", access), ("shaping/few.cedar", shaping)]);
    let engine = Engine::start(&workspace).await;
    let mut check =
        v1::authorization_client::AuthorizationClient::connect(format!("http://{}", engine.grpc)).await.unwrap();
    let request = |source: &str, destination: &str| v1::CheckRequest {
        source: source.to_owned(),
        destination: destination.to_owned(),
        method: "GET".to_owned(),
        path: "/open/1".to_owned(),
        take_tokens: true,
        ..v1::CheckRequest::default()
    };

    let allowed = check.check(request("shop/a", "shop/catalog")).await.unwrap().into_inner();
    assert_eq!((allowed.decision.as_str(), allowed.policies), ("allow", vec!["inside".to_owned()]));
    assert!(allowed.cacheable_ms > 0);
    assert!(allowed.depends_on.contains(&"context.path".to_owned()), "{:?}", allowed.depends_on);

    let denied = check.check(request("jobs/x", "shop/catalog")).await.unwrap().into_inner();
    assert_eq!((denied.decision.as_str(), denied.reason.as_str()), ("deny", "no_permit"));

    let mut decisions = Vec::new();
    for _ in 0..4 {
        let answer = check.check(request("shop/a", "shop/search")).await.unwrap().into_inner();
        assert_eq!(answer.cacheable_ms, 0, "a limit is no answer to keep");
        decisions.push(answer.decision);
    }
    assert_eq!(decisions, ["allow", "allow", "limit", "limit"]);

    let empty = check.check(v1::CheckRequest::default()).await.unwrap_err();
    assert!(empty.message().contains("`destination` is empty"), "{empty}");
}
