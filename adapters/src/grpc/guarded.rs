//! Finds out who calls, before anything else looks at the call.

use std::sync::Arc;

use tollgate_engine::Identity;
use tonic::service::InterceptorLayer;
use tonic::{Extensions, Request, Status};

use crate::guard::{Guard, Peer};

/// Puts the [`Identity`] of the caller beside each request, and refuses those who have none.
pub(super) fn layer(
    guard: Arc<Guard>,
) -> InterceptorLayer<impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static> {
    InterceptorLayer::new(move |mut request: Request<()>| {
        let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificate.clone());
        let authorization = request.metadata().get("authorization").map(|value| value.as_bytes().to_vec());
        let identity = guard.identify(certificate.as_deref(), authorization.as_deref());
        let identity = identity.map_err(|refused| Status::unauthenticated(refused.to_string()))?;
        request.extensions_mut().insert(identity);
        Ok(request)
    })
}

/// Who calls.
pub(crate) fn identity(extensions: &Extensions) -> Result<Identity, Status> {
    // Every call passes the layer; should one ever not, it is nobody's.
    extensions.get().cloned().ok_or_else(|| Status::unauthenticated("nobody knows who calls"))
}
