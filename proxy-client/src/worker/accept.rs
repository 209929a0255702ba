//! Takes connections in, up to a bound, until the worker drains.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tollgate_attributes::Direction;

use super::{Peer, Worker, serve};

/// How long to wait when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until the drain has ended, or has taken longer than the configuration allows.
///
/// Bound: `connections_max` divided among the workers. When it is reached, new connections wait in the kernel.
pub(super) async fn run(
    worker: &Rc<Worker>,
    listeners: Vec<(Direction, StdListener)>,
    drain: &CancellationToken,
) -> io::Result<()> {
    let share = worker.config.connections_max.div_ceil(worker.config.workers).min(1 << 20);
    let room = Arc::new(Semaphore::new(share));
    for (direction, listener) in listeners {
        let listener = TcpListener::from_std(listener)?;
        let (worker, room, drain) = (Rc::clone(worker), Arc::clone(&room), drain.clone());
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = accept(&worker, direction, &listener, &room, &drain) => {}
                () = drain.cancelled() => {}
            }
        });
    }
    drain.cancelled().await;
    let everything = room.acquire_many(u32::try_from(share).unwrap_or(u32::MAX));
    if tokio::time::timeout(worker.config.timeouts.shutdown, everything).await.is_err() {
        tracing::warn!("connections were cut off: their requests took longer than `timeouts.shutdown`");
    }
    Ok(())
}

async fn accept(
    worker: &Rc<Worker>,
    direction: Direction,
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    drain: &CancellationToken,
) {
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                let peer = Rc::new(Peer::new(address));
                tokio::task::spawn_local(serve_one(Rc::clone(worker), direction, peer, stream, drain.clone(), place));
            }
            // The connection broke before it was accepted, or there are no descriptors: neither is the listener's end.
            Err(error) => {
                tracing::debug!(%error, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(
    worker: Rc<Worker>,
    direction: Direction,
    peer: Rc<Peer>,
    stream: TcpStream,
    drain: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let counters = Arc::clone(&worker.counters);
    counters.opened();
    if let Err(error) = serve::serve(worker, direction, peer, stream, drain).await {
        tracing::debug!(%error, "a connection ended");
    }
    counters.closed();
    drop(place);
}
