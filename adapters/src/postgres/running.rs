//! Which query of which client runs, so that the client can cancel it from another connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::startup::SecretKey;
use tokio_util::sync::CancellationToken;
use tollgate_engine::Identity;

use super::error::fatal;

type Key = (i32, Bytes);
type Current = Arc<Mutex<CancellationToken>>;

/// The clients that have introduced themselves. As many as there are connections.
#[derive(Default)]
pub(super) struct Running {
    clients: Mutex<HashMap<Key, Current>>,
}

impl Running {
    /// Lets the client cancel what it runs, for as long as it is connected.
    pub(super) fn register(self: &Arc<Self>, client: &impl ClientInfo, identity: Identity) {
        tracing::debug!(name = identity.name(), "a PostgreSQL client is in");
        let (pid, secret) = client.pid_and_secret_key();
        let (key, current) = (key(pid, &secret), Current::default());
        lock(&self.clients).insert(key.clone(), Arc::clone(&current));
        client.session_extensions().insert(Registered { key, current, identity, running: Arc::clone(self) });
    }
}

#[async_trait]
impl CancelHandler for Running {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let current = lock(&self.clients).get(&key(request.pid, &request.secret_key)).cloned();
        if let Some(current) = current {
            lock(&current).cancel();
        }
    }
}

/// A client's place in [`Running`], given up with the connection.
struct Registered {
    key: Key,
    current: Current,
    identity: Identity,
    running: Arc<Running>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.running.clients).remove(&self.key);
    }
}

/// Begins a query of this client and returns who asks, and what its cancellation will be seen by.
pub(super) fn begin(client: &(impl ClientInfo + ?Sized)) -> PgWireResult<(Identity, CancellationToken)> {
    // Nobody gets here without having introduced himself; should the protocol's state ever say otherwise, this does not.
    let Some(registered) = client.session_extensions().get::<Registered>() else {
        return Err(fatal("28000", "the connection is not authenticated"));
    };
    let token = CancellationToken::new();
    *lock(&registered.current) = token.clone();
    Ok((registered.identity.clone(), token))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(pid: i32, secret: &SecretKey) -> Key {
    (pid, secret.to_bytes())
}
