//! What may be linked: the proxy stays small, licences are permissive, and building needs only Rust and a C compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Names of everything that a package links, in a normal build.
fn links(package: &str) -> BTreeSet<String> {
    let output = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    output.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).arg("--locked").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_proxy_links_neither_datafusion_nor_the_engine() {
    let proxy = links("tollgate-proxy-client");
    let heavy: Vec<_> = proxy
        .iter()
        .filter(|name| name.starts_with("datafusion") || *name == "tollgate-engine" || *name == "tollgate-adapters")
        .collect();
    assert!(heavy.is_empty(), "tollgate-proxy links {heavy:?}");
    assert!(proxy.contains("tollgate-policies"), "the check looks at the wrong package");
}

#[test]
fn only_engine_and_adapters_and_the_command_line_link_datafusion() {
    for package in ["tollgate-policies", "tollgate-attributes", "tollgate-api", "tollgate-config"] {
        assert!(!links(package).iter().any(|name| name.starts_with("datafusion")), "{package} links DataFusion");
    }
    assert!(links("tollgate-engine").contains("datafusion"), "the check looks at the wrong package");
}

#[test]
fn building_needs_only_rust_and_a_c_compiler() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).unwrap();
    let names = resolved(&metadata);
    for name in ["cmake", "protoc-bin-vendored", "openssl-sys", "bindgen"] {
        assert!(!names.contains_key(name), "`{name}` needs more than Rust and a C compiler");
    }
}

/// The allowed licences are those in `deny.toml`, so that `cargo deny check licenses` says the same.
#[test]
fn every_licence_is_permissive() {
    let allowed = include_str!("../deny.toml");
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1"])).unwrap();
    let mut refused = Vec::new();
    for (name, licence) in resolved(&metadata) {
        let expression = spdx::Expression::parse_mode(&licence, spdx::ParseMode::LAX).unwrap();
        let is_allowed = expression.evaluate(|requirement| {
            let exception = format!("{{ allow = [\"{requirement}\"], crate = \"{name}\" }}");
            allowed.lines().any(|line| {
                line.trim() == format!("\"{requirement}\",") || line.trim().trim_end_matches(',') == exception
            })
        });
        if !is_allowed {
            refused.push(format!("{name}: {licence}"));
        }
    }
    assert!(refused.is_empty(), "not in deny.toml: {refused:#?}");
}

/// Name and licence of every package from a registry that is compiled on Linux, build and test dependencies included.
fn resolved(metadata: &Value) -> BTreeMap<String, String> {
    let tree = cargo(&["tree", "--workspace", "--edges", "all", "--prefix", "none", "--format", "{p}"]);
    let used: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| used.contains(package["name"].as_str().unwrap()) && !package["source"].is_null())
        .map(|package| {
            let licence = package["license"].as_str().unwrap_or("none given");
            (package["name"].as_str().unwrap().to_owned(), licence.to_owned())
        })
        .collect()
}
