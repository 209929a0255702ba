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
mod limit;
mod mesh;
mod panels;
mod policy_edit;
mod policy_edit_10k;
mod proxy;
mod queries;
mod replay;
mod sustained;

use e2e::harness;

fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`; what remains names benchmarks.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Runtime::new()?;
    if is_wanted("policy-edit") {
        runtime.block_on(policy_edit::run());
    }
    if is_wanted("policy-edit-10k") {
        runtime.block_on(policy_edit_10k::run());
    }
    if is_wanted("limit") {
        runtime.block_on(limit::run());
    }
    if is_wanted("replay") {
        runtime.block_on(replay::run())?;
    }
    if is_wanted("panels") {
        runtime.block_on(panels::run())?;
    }
    if is_wanted("first-answer") {
        first_answer::run()?;
    }
    if is_wanted("queries") {
        runtime.block_on(queries::run())?;
    }
    if is_wanted("proxy") {
        runtime.block_on(proxy::run())?;
    }
    if is_wanted("sustained") {
        runtime.block_on(sustained::run())?;
    }
    Ok(())
}
