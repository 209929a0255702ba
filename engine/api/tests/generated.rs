//! The committed Rust code of the API is what the protobuf files generate. `make generate` writes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = ["telemetry", "decisions", "authorization"].map(|name| format!("tollgate/v1/{name}.proto"));
    let descriptors = protox::compile(protos, [root.join("proto")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure().out_dir(out.path()).bytes(".").compile_fds(descriptors).unwrap();

    let generated = std::fs::read_to_string(out.path().join("tollgate.v1.rs")).unwrap();
    let committed = root.join("src/generated/tollgate.v1.rs");
    if std::env::var_os("TOLLGATE_GENERATE").is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    let is_current = std::fs::read_to_string(&committed).unwrap_or_default() == generated;
    assert!(is_current, "engine/api/src/generated is old: run `make generate`");
}
