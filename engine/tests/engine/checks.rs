//! `Authorization.Check`: the same answers as a proxy gives.

use tollgate_api::v1;

use crate::harness::{Running, wait_for};

const POLICIES: &str = r#"
@id("reads") permit (principal, action in Action::"read", resource == Service::"shop/catalog");
"#;
const LIMITS: &str = r#"
@id("few") @limit("2/m") @burst("2")
permit (principal, action, resource == Service::"shop/catalog");
"#;

fn get(method: &str) -> v1::CheckRequest {
    v1::CheckRequest {
        source: "shop/storefront".to_owned(),
        destination: "shop/catalog".to_owned(),
        method: method.to_owned(),
        path: "/items".to_owned(),
        ..v1::CheckRequest::default()
    }
}

async fn start() -> Running {
    let running = Running::start().await;
    for folder in ["access", "shaping", "signals"] {
        for file in std::fs::read_dir(running.policies().join(folder)).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    running.write_policy("access/a.cedar", POLICIES);
    running.write_policy("shaping/a.cedar", LIMITS);
    let query = "SELECT count(*) = 2 AND count(*) FILTER (WHERE id IN ('reads', 'few')) = 2 FROM policies";
    wait_for("the policies", async || running.number(query).await == 1).await;
    wait_for("the check to follow", async || running.engine.check(&get("GET")).policies == ["reads"]).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_at_limits_without_spending() {
    let running = start().await;
    for _ in 0..20 {
        let answer = running.engine.check(&get("GET"));
        assert_eq!((answer.decision.as_str(), answer.cacheable_ms), ("allow", 0), "{answer:?}");
    }
    let denied = running.engine.check(&get("POST"));
    assert_eq!((denied.decision.as_str(), denied.reason.as_str()), ("deny", "no_permit"));
    assert!(denied.snapshot > 0);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_tokens_as_a_member_of_the_fleet() {
    let running = start().await;
    let take = v1::CheckRequest { take_tokens: true, ..get("GET") };
    let decisions: Vec<String> = (0..4).map(|_| running.engine.check(&take).decision).collect();
    assert_eq!(decisions, ["allow", "allow", "limit", "limit"]);
    assert!(running.engine.check(&take).retry_after_ms > 0);
    assert_eq!(running.number("SELECT count(*) FROM reporters WHERE name = 'engine' AND connected").await, 1);
    running.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_destinations_do_not_loosen_limits() {
    let running = start().await;
    for n in 0..1_100 {
        let made_up = v1::CheckRequest { take_tokens: true, destination: format!("made/up-{n}"), ..get("GET") };
        assert_eq!(running.engine.check(&made_up).decision, "deny");
    }
    let take = v1::CheckRequest { take_tokens: true, ..get("GET") };
    let decisions: Vec<String> = (0..4).map(|_| running.engine.check(&take).decision).collect();
    assert_eq!(decisions, ["allow", "allow", "limit", "limit"]);
    running.engine.shutdown().await;
}
