//! The files below `dashboards/grafana` and `dashboards/prometheus`.

use serde_json::Value;

use crate::{alerts, boards, provisioning, rules};

/// One generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From `dashboards/grafana` on, with slashes.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// All of them.
#[must_use]
pub fn files() -> Vec<File> {
    let boards = boards();
    let dashboards = boards.iter().map(|board| json(format!("dashboards/{}.json", board.uid), &board.json(&boards)));
    let rest = [
        json("provisioning/alerting/tollgate.json".to_owned(), &alerts::json()),
        json("../prometheus/tollgate.rules.yml".to_owned(), &rules::json()),
        text("provisioning/datasources/tollgate.yaml", provisioning::DATA_SOURCES),
        text("provisioning/dashboards/tollgate.yaml", provisioning::PROVIDERS),
    ];
    dashboards.chain(rest).collect()
}

fn json(path: String, value: &Value) -> File {
    File { path, text: format!("{value:#}\n") }
}

fn text(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}
