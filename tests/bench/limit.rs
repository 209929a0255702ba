//! From the request that crosses a limit at one proxy to the limit at another.
//!
//! One proxy carries 90% of a shared limit, all of it allowed. Then a second one is asked for twice the limit: from its first
//! request on, the first proxy's share is too large. Measured is how long it takes until the first proxy refuses, which
//! includes the time in which it spends its burst: four tokens at 80 a second, 50 ms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::figures;
use crate::harness::{Backend, Client, Engine, Proxy, Workspace};

const ROUNDS: usize = 10;
const LIMIT: u32 = 200;
/// Each waits for its answer before it asks again, so that one alone may be too slow on a busy machine.
const CALLERS: [(); 2] = [(); 2];
const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

pub(crate) async fn run() {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(round().await);
    }
    figures::print("limit crossed at one proxy, enforced at another", times);
}

async fn round() -> Duration {
    let shaping =
        format!("@id(\"shared\") @limit(\"{LIMIT}/s\") @burst(\"4\") permit (principal, action, resource);\n");
    let workspace = Workspace::new(&[("access/all.cedar", PERMIT), ("shaping/shared.cedar", &shaping)]);
    let engine = Engine::start(&workspace).await;
    let backend = Backend::start().await;
    let first = Proxy::in_front_of(&workspace, &engine, "catalog-1", "shop/catalog", backend.address).await;
    let second = Proxy::in_front_of(&workspace, &engine, "catalog-2", "shop/catalog", backend.address).await;
    engine.wait_enforced(2).await;

    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let steady = CALLERS.map(|_| call(first.inbound(), LIMIT * 9 / 20, Arc::clone(&refused), Arc::clone(&stop)));
    let steady = steady.map(tokio::spawn);
    wait_until_none_is_refused(&refused).await;

    let crossed = Instant::now();
    let before = refused.load(Ordering::Relaxed);
    let crossing = CALLERS.map(|_| call(second.inbound(), LIMIT, Arc::default(), Arc::clone(&stop)));
    let crossing = crossing.map(tokio::spawn);
    while refused.load(Ordering::Relaxed) == before {
        assert!(
            crossed.elapsed() < Duration::from_secs(20),
            "the first proxy never refuses: its callers may be too slow for {LIMIT} requests a second here"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let time = crossed.elapsed();
    stop.store(true, Ordering::Relaxed);
    for task in steady.into_iter().chain(crossing) {
        task.await.unwrap();
    }
    time
}

/// A second without a refusal: the lease covers the steady load.
async fn wait_until_none_is_refused(refused: &AtomicU64) {
    loop {
        let before = refused.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if refused.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

async fn call(address: SocketAddr, per_second: u32, refused: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut client = Client::new(address);
    let mut pace = interval(Duration::from_secs(1) / per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        if client.get_as("shop/a", "/").await.status == 429 {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}
