//! The dashboards of Istio: each of their expressions gives here what it gives over a real Prometheus that scrapes us.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Mesh, Prometheus, now_s};
use crate::harness::{Client, Proxy, until};

/// Requests of each kind after the first.
const EACH: usize = 60;
/// What a Prometheus cannot see: the first request of each series, and parts of scrapes.
const TOLERANCE: f64 = 0.15;

/// A query of Istio's dashboards, with Grafana's variables as they would stand.
pub(super) fn expressions() -> Vec<String> {
    let text = include_str!("../../../adapters/promql/tests/oracle/istio-dashboards.json");
    let boards: BTreeMap<String, Vec<String>> = serde_json::from_str(text).unwrap();
    let variables = [
        ("$__rate_interval", "5m"),
        ("$qrep", "source|waypoint|destination"),
        ("$service", "catalog.shop.svc.cluster.local"),
        ("$srcwl", ".+"),
        ("$srcns", ".*"),
        ("$dstwl", ".+"),
        ("$dstns", "shop"),
        ("$dstcluster", ".*"),
    ];
    let fill = |query: String| variables.iter().fold(query, |query, (name, value)| query.replace(name, value));
    boards.into_values().flatten().map(fill).collect()
}

/// As Grafana sends it: it asks `label_values` in another way, and takes the wrapping of `query_result` off.
pub(super) fn sent(expression: &str) -> Option<&str> {
    let inner = expression.strip_prefix("query_result(").and_then(|inner| inner.strip_suffix(')'));
    (!expression.starts_with("label_values(")).then_some(inner.unwrap_or(expression))
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_s_dashboards_show_what_they_show_over_a_real_prometheus() {
    let mesh = Mesh::quiet().await;
    let outbound = format!(
        "name: storefront-1\nengine: http://{}\nservice: shop/storefront\nidentity: header\nworkers: 1\n\
         outbound: {{ listen: 127.0.0.1:0 }}\nroutes: [\"/items/{{id}}\"]\nservices:\n  shop/catalog: [{}]\n",
        mesh.engine.grpc,
        mesh.proxy.inbound()
    );
    let storefront = Proxy::start(&mesh.workspace, "storefront-1", &outbound).await;
    mesh.engine.wait_enforced(2).await;
    let config = format!(
        "scrape_configs:\n- {{ job_name: mesh, metrics_path: /metrics/mesh, scrape_interval: 1s, scrape_timeout: 1s, \
         static_configs: [{{ targets: ['{}'] }}] }}\n",
        mesh.engine.http
    );
    let prometheus = Prometheus::start(&mesh.workspace, &config, &[]).await;

    let (mut caller, mut direct) = (Client::new(storefront.outbound()), Client::new(mesh.proxy.inbound()));
    let mut sent_so_far = 0;
    for round in 0..=EACH {
        for path in ["/items/1", "/items/1?status=404", "/items/1?status=503"] {
            caller.send("GET", path, &[("host", "catalog.shop")], b"").await.unwrap();
            direct.get_as("shop/cart", path).await;
            sent_so_far += 1;
        }
        if round == 0 {
            // Every series has to be there before it grows: what it begins with is no growth to a Prometheus.
            prometheus.wait("sum(istio_requests_total{source_workload=\"cart\"})", 3).await;
            prometheus.wait("sum(istio_requests_total{reporter=\"source\"})", 3).await;
        }
    }
    prometheus.wait("sum(istio_requests_total{source_workload=\"cart\"})", sent_so_far).await;
    prometheus.wait("sum(istio_requests_total{reporter=\"source\"})", sent_so_far).await;
    until("the last second is over", || async {
        let query = "sum(increase(istio_requests_total{source_workload=\"cart\"}[5m]))";
        (mesh.value(query).await - sent_so_far as f64).abs() < 1e-6
    })
    .await;
    // A Prometheus stretches what it saw by up to one interval between scrapes: of many that is little.
    until("there are enough samples", || async {
        prometheus.value("count_over_time(up[5m])").await.is_some_and(|scrapes| scrapes >= 15.0)
    })
    .await;

    let time = now_s().to_string();
    let (mut wrong, mut with_rows) = (Vec::new(), 0);
    for expression in expressions() {
        let Some(query) = sent(&expression) else { continue };
        // Sizes have no buckets to scrape. The rest of what `irate` shows is over; over the whole minute there is more to see.
        if query.contains("_bytes_bucket") {
            continue;
        }
        let query = query.replace("irate(", "rate(");
        let asked = [("query", query.as_str()), ("time", time.as_str())];
        let (ours, theirs) =
            (series(&mesh.ask("/api/v1/query", &asked).await), series(&prometheus.ask("/api/v1/query", &asked).await));
        with_rows += usize::from(!theirs.is_empty());
        let is_same = ours.keys().eq(theirs.keys())
            && ours.iter().zip(&theirs).all(|((_, ours), (_, theirs))| is_close(*ours, *theirs));
        if !is_same {
            wrong.push(format!("{query}\n  here {ours:?}\n  Prometheus {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(with_rows > 30, "only {with_rows} expressions have anything to show");
}

fn is_close(ours: f64, theirs: f64) -> bool {
    (ours.is_nan() && theirs.is_nan()) || (ours - theirs).abs() <= TOLERANCE * theirs.abs() + 0.011
}

/// Values by labels, without those that a scrape adds.
fn series(data: &Value) -> BTreeMap<String, f64> {
    let result = data["result"].as_array().unwrap();
    let of = |one: &Value| {
        let mut labels: BTreeMap<String, Value> =
            one["metric"].as_object().unwrap().clone().into_iter().filter(|(_, value)| value != "").collect();
        labels.retain(|name, _| name != "job" && name != "instance");
        let value = one["value"][1].as_str().unwrap().parse().unwrap_or(f64::NAN);
        (serde_json::to_string(&labels).unwrap(), value)
    };
    result.iter().map(of).collect()
}
