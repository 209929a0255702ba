//! What every scenario needs: processes of this build, backends, a client, and patience.

mod backend;
mod client;
mod process;
pub(crate) mod pypi;

pub(crate) use backend::Backend;
pub(crate) use client::{Answer, Client, get};
pub(crate) use process::{Engine, Proxy, Workspace, tollgate};

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer. `what` names what was waited for in vain.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    eventually_within(PATIENCE, what, ask).await
}

/// As [`eventually`], with more patience.
pub(crate) async fn eventually_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As [`eventually`], for a claim.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut claim: impl FnMut() -> F) {
    eventually(what, || {
        let claim = claim();
        async move { claim.await.then_some(()) }
    })
    .await;
}
