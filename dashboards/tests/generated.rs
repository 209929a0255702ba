//! The committed files are what the code generates, and they keep the rules that every dashboard has to keep.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tollgate_dashboards::macros::Span;
use tollgate_dashboards::{Format, Language, Place, Target, files, targets};

const SPAN: Span = Span { from_ms: 1_700_000_000_000, to_ms: 1_700_003_600_000, interval_ms: 60_000 };
const VARIABLES: [(&str, &str); 11] = [
    ("resolution", "1m"),
    ("service", "shop/catalog"),
    ("source", "shop/storefront"),
    ("destination", "shop/catalog"),
    ("caller", ""),
    ("path", ""),
    ("decision", "any"),
    ("status", "0"),
    ("slower_ms", "0"),
    ("trace", ""),
    ("traces", "http://127.0.0.1:16686/trace/"),
];

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// Dashboards by their uid.
fn dashboards() -> BTreeMap<String, Value> {
    let dashboards = files().into_iter().filter(|file| file.path.starts_with("dashboards/"));
    let parsed = dashboards.map(|file| serde_json::from_str::<Value>(&file.text).unwrap());
    parsed.map(|dashboard| (dashboard["uid"].as_str().unwrap().to_owned(), dashboard)).collect()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

/// All texts anywhere within.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(members) => members.iter().for_each(|member| texts(member, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

#[test]
fn committed_files_are_current() {
    let files = files();
    let write = std::env::var_os("TOLLGATE_GENERATE").is_some();
    for file in &files {
        let path = committed().join(&file.path);
        if write {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &file.text).unwrap();
        }
        let is_current = std::fs::read_to_string(&path).unwrap_or_default() == file.text;
        assert!(is_current, "{} is old: run `cargo run -p tollgate-dashboards`", file.path);
    }
    let known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for directory in ["dashboards", "provisioning/alerting", "provisioning/dashboards", "provisioning/datasources"] {
        for entry in std::fs::read_dir(committed().join(directory)).unwrap() {
            let name = format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(known.contains(name.as_str()), "{name} is not generated any more: remove it");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    for (uid, dashboard) in dashboards() {
        assert!(!dashboard["description"].as_str().unwrap().is_empty(), "{uid}");
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty() && titles.insert(title), "{uid}: two panels are called `{title}`");
            let description = panel["description"].as_str().unwrap();
            assert!(description.len() > 20 && description.contains("```"), "{uid}: `{title}` is not described");
            assert!(
                !panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(),
                "{uid}: `{title}` has no unit"
            );
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{uid}: `{title}` has no query");
        }
    }
}

#[test]
fn data_sources_are_chosen_by_variables() {
    for (uid, dashboard) in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let mut sources = BTreeMap::new();
        for variable in variables.iter().filter(|variable| variable["type"] == "datasource") {
            let name = variable["name"].as_str().unwrap();
            sources.insert(format!("${{{name}}}"), variable["query"].clone());
        }
        let uses = |value: &Value| {
            let source = &value["datasource"];
            let known = source["uid"].as_str().and_then(|uid| sources.get(uid));
            assert_eq!(known, Some(&source["type"]), "{uid}: {source}");
        };
        for panel in panels(&dashboard) {
            uses(panel);
            panel["targets"].as_array().unwrap().iter().for_each(uses);
        }
        variables.iter().filter(|variable| variable["type"] == "query").for_each(uses);
        dashboard["annotations"]["list"].as_array().unwrap().iter().for_each(uses);
    }
}

#[test]
fn ids_are_unique_and_panels_do_not_overlap() {
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), files().iter().filter(|file| file.path.starts_with("dashboards/")).count());
    for (uid, dashboard) in &dashboards {
        let all = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<i64> = all.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len(), all.len(), "{uid}: two panels have one id");
        let mut taken = BTreeSet::new();
        for panel in all {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_i64().unwrap());
            assert!(x + w <= 24, "{uid}: {}", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{uid}: {} lies on another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn links_lead_to_dashboards_and_variables_that_exist() {
    let dashboards = dashboards();
    let mut reached = BTreeSet::new();
    for (from, dashboard) in &dashboards {
        let mut found = Vec::new();
        texts(dashboard, &mut found);
        for link in found.iter().filter_map(|text| text.strip_prefix("/d/")) {
            let (uid, parameters) = link.split_once('?').unwrap_or((link, ""));
            let target = dashboards.get(uid).unwrap_or_else(|| panic!("{from} links to `{uid}`, which does not exist"));
            reached.insert(uid.to_owned());
            let variables = target["templating"]["list"].as_array().unwrap();
            for name in parameters.split('&').filter_map(|parameter| parameter.strip_prefix("var-")) {
                let name = name.split('=').next().unwrap();
                assert!(variables.iter().any(|variable| variable["name"] == name), "{from} sets `{name}` of `{uid}`");
            }
        }
    }
    assert_eq!(reached.len(), dashboards.len(), "every dashboard is reached from another one");
}

#[test]
fn queries_use_only_variables_that_their_dashboard_has() {
    for (uid, dashboard) in dashboards() {
        let names: Vec<&str> =
            dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
        let mut found = Vec::new();
        texts(&dashboard, &mut found);
        for text in found {
            for name in text.split("${").skip(1).filter_map(|tail| tail.split(['}', ':']).next()) {
                let is_known = names.contains(&name) || name.starts_with("__");
                assert!(is_known, "{uid}: `{name}` is no variable in: {text}");
            }
        }
    }
}

fn sent(target: &Target) -> String {
    target.sent(&VARIABLES, SPAN).unwrap_or_else(|error| panic!("{:?}: {error}", target.place))
}

#[test]
fn macros_and_variables_of_all_queries_expand() {
    let targets = targets();
    assert!(targets.len() > 80, "{}", targets.len());
    for target in &targets {
        let text = sent(target);
        assert!(!text.contains('$'), "{:?}: {text}", target.place);
        assert!(!text.is_empty());
    }
    let kinds = [Language::Sql, Language::PromQl, Language::EngineMetrics];
    assert!(kinds.iter().all(|kind| targets.iter().any(|target| target.language == *kind)));
}

#[test]
fn time_series_have_a_rising_time() {
    let is_series = |target: &&Target| target.language == Language::Sql && target.format == Format::TimeSeries;
    for target in targets().iter().filter(is_series) {
        let text = sent(target);
        assert!(text.contains("AS \"time\"") || text.starts_with("SELECT time,"), "{:?}", target.place);
        assert!(text.ends_with("ORDER BY 1"), "{:?}", target.place);
    }
}

#[test]
fn prometheus_takes_the_rules_that_promql_can_say() {
    let file = committed().join("../prometheus/tollgate.rules.yml");
    let checked = std::process::Command::new("promtool")
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .arg(file)
        .output();
    let checked = checked.expect("promtool is missing: run `make setup`");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("7 rules"), "{said}");
}

#[test]
fn alert_rules_are_whole() {
    let files = files();
    let file = files.iter().find(|file| file.path.ends_with("alerting/tollgate.json")).unwrap();
    let alerts: Value = serde_json::from_str(&file.text).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let sources = &files.iter().find(|file| file.path.contains("datasources")).unwrap().text;
    let dashboards = dashboards();
    let mut uids = BTreeSet::new();
    for rule in rules {
        let uid = rule["uid"].as_str().unwrap();
        assert!(uids.insert(uid) && uid.len() <= 40, "{uid}");
        let source = rule["data"][0]["datasourceUid"].as_str().unwrap();
        assert!(sources.contains(&format!("uid: {source}\n")), "{uid}: {source}");
        assert!(dashboards.contains_key(rule["annotations"]["__dashboardUid__"].as_str().unwrap()), "{uid}");
        assert!(!rule["annotations"]["summary"].as_str().unwrap().is_empty(), "{uid}");
        assert_eq!(rule["data"].as_array().unwrap().last().unwrap()["refId"], rule["condition"], "{uid}");
    }
    let queries = targets().into_iter().filter(|target| matches!(target.place, Place::Alert(_))).count();
    assert_eq!(queries, rules.len());
}
