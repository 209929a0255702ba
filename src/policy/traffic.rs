//! Recorded requests, asked of a running engine.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};
use tollgate_policies::tools::{Columns, Combination};

use super::args::WindowArgs;
use crate::client;

/// What takes longer than this shows that it goes on.
const QUIET: Duration = Duration::from_secs(1);

/// Rows of a query.
pub(super) fn rows(engine: &str, query: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bytes = runtime.block_on(waiting(client::sql(engine, query, "application/json")))?;
    serde_json::from_slice(&bytes).context("the engine's answer is not understood: is it of the same version?")
}

/// Shows that something goes on, once it takes long.
async fn waiting<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(QUIET, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner().with_message("the engine groups the requests");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// The distinct combinations of these columns.
pub(super) fn combinations(
    engine: &str,
    columns: &Columns,
    window: &WindowArgs,
    is_timed: bool,
) -> anyhow::Result<Vec<Combination>> {
    let query = columns.query(window.since.0.as_secs().max(1), window.filter.as_deref(), is_timed);
    let rows = rows(engine, &query).context("cannot ask for the requests: narrow them by `--since` or `--where`")?;
    rows.into_iter().map(|row| Combination::read(row).map_err(anyhow::Error::msg)).collect()
}

/// Those of the headers that the requests of the window hold at all: what no row has was not recorded.
pub(super) fn recorded_headers(combinations: &[Combination]) -> BTreeSet<String> {
    combinations.iter().flat_map(|combination| combination.facts.labels.keys().cloned()).collect()
}

/// A bar that is shown once the work takes longer than a second.
pub(super) fn progress(total: usize) -> impl FnMut(u64) {
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} combinations, {eta} left") {
        bar.set_style(style);
    }
    let started = std::time::Instant::now();
    move |done| {
        if bar.is_hidden() && started.elapsed() > QUIET {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(done);
        if done >= total as u64 {
            bar.finish_and_clear();
        }
    }
}
