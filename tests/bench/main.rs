//! Measures the loop beside its peers. `make bench`, or `make bench ARGS="policy-edit proxy"`; method and figures are in README.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

#[path = "../e2e"]
mod e2e {
    //! What the benchmarks share with the end-to-end tests.
    #[expect(dead_code, reason = "a benchmark needs only some of it")]
    pub(crate) mod harness;
}

mod figures;
mod first_answer;
mod ingest;
mod limit;
mod mesh;
mod policy_edit;
mod proxy;
mod queries;
mod soak;

use e2e::harness;

fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`; what remains names benchmarks.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Runtime::new()?;
    if is_wanted("policy-edit") {
        runtime.block_on(policy_edit::run());
    }
    if is_wanted("limit") {
        runtime.block_on(limit::run());
    }
    if is_wanted("ingest") {
        runtime.block_on(ingest::run())?;
    }
    if is_wanted("first-answer") {
        first_answer::run()?;
    }
    if is_wanted("queries") {
        runtime.block_on(queries::run())?;
    }
    if is_wanted("soak") {
        runtime.block_on(soak::run())?;
    }
    if is_wanted("proxy") {
        runtime.block_on(proxy::run())?;
    }
    Ok(())
}
