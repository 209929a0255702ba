//! The shop: storefront -> catalog -> payments, and search. Real HTTP services that know nothing of Tollgate but the address of
//! the proxy beside them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::Client;

/// One of the shop's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Storefront,
    Catalog,
    Payments,
    Search,
}

impl Service {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Catalog => "catalog",
            Self::Payments => "payments",
            Self::Search => "search",
        }
    }

    /// Route templates, for its proxy.
    pub(super) fn routes(self) -> &'static [&'static str] {
        match self {
            Self::Storefront => &["/", "/checkout"],
            Self::Catalog => &["/items/{id}", "/orders"],
            Self::Payments => &["/charges", "/accounts/{id}"],
            Self::Search => &["/search"],
        }
    }

    /// The service that this one calls.
    pub(super) fn calls(self) -> Option<Self> {
        match self {
            Self::Storefront => Some(Self::Catalog),
            Self::Catalog => Some(Self::Payments),
            Self::Payments | Self::Search => None,
        }
    }

    /// How long its own work takes, from the fastest to the slowest request.
    fn work(self) -> (Duration, Duration) {
        let ms = Duration::from_millis;
        match self {
            Self::Storefront => (ms(1), ms(3)),
            Self::Catalog => (ms(2), ms(6)),
            Self::Payments => (ms(3), ms(12)),
            Self::Search => (ms(5), ms(25)),
        }
    }
}

/// Serves one service until `stop`. Calls to the next one go through the proxy at `outbound`.
pub(super) async fn serve(
    service: Service,
    listener: TcpListener,
    outbound: Option<SocketAddr>,
    stop: CancellationToken,
) {
    let next = outbound.map(|address| Arc::new(Client::new(address)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // Out of file descriptors, or a connection that broke while it waited: the next one may fare better.
        let Ok((stream, _)) = accepted else { continue };
        let next = next.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(service, next.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            // A caller that goes away is its own affair.
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn answer(
    service: Service,
    next: Option<Arc<Client>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (fastest, slowest) = service.work();
    tokio::time::sleep(fastest + (slowest - fastest).mul_f64(fastrand::f64().powi(3))).await;

    let call = next.and_then(|client| Some((client, call(service, &request)?)));
    let status = match call {
        Some((client, (method, host, path))) => {
            client.send(method, host, &path, carried(request.headers())).await.unwrap_or(StatusCode::BAD_GATEWAY)
        }
        None => StatusCode::OK,
    };
    let body = format!("{{\"service\":\"{}\",\"status\":{}}}\n", service.name(), status.as_u16());
    let mut response = Response::new(Full::new(Bytes::from(body)));
    // What the next service refused is not this one's fault, yet its caller gets no page.
    *response.status_mut() = if status.is_success() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(response)
}

/// Which call a request leads to.
fn call(service: Service, request: &Request<Incoming>) -> Option<(Method, &'static str, String)> {
    match (service, request.method()) {
        (Service::Storefront, &Method::POST) => Some((Method::POST, "catalog.shop", "/orders".to_owned())),
        (Service::Storefront, _) => Some((Method::GET, "catalog.shop", format!("/items/{}", fastrand::u32(..200)))),
        (Service::Catalog, &Method::POST) => Some((Method::POST, "payments.shop", "/charges".to_owned())),
        _ => None,
    }
}

/// The headers that a service carries on, so that one trace shows the whole call.
fn carried(headers: &HeaderMap) -> HeaderMap {
    let names = ["traceparent", "tracestate", "x-request-id"];
    names
        .iter()
        .filter_map(|name| Some((hyper::header::HeaderName::from_static(name), headers.get(*name)?.clone())))
        .collect()
}
