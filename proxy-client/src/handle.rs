//! One request from its head to its response: check, find the service, decide, wait, forward. The only places where it may wait are
//! a queue that a policy asks for, and the upstream.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use tollgate_attributes::{Decision, Direction, Reason};
use tollgate_policies::{Facts, Verdict};

use crate::body::{RequestBody, ResponseBody};
use crate::config::{Identity, WithoutSnapshot};
use crate::exchange::Exchange;
use crate::hygiene::{self, BadRequest, Upgrade};
use crate::names::ServiceName;
use crate::refusal::Refusal;
use crate::upstream::{self, Cluster, FailureKind, Sent};
use crate::wanted_headers::Collected;
use crate::worker::{Peer, SOURCE, SOURCE_VERSION, Worker};

/// Answers one request. Its row leaves when the response has ended.
///
/// Everything up to the decision happens at once, not when the future is first polled: hyper drops it unpolled when the caller
/// has already gone, and such a request has its row too.
pub(crate) fn handle(
    worker: &Rc<Worker>,
    direction: Direction,
    peer: &Rc<Peer>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let (mut head, body) = request.into_parts();
    let body = RequestBody::new(body);
    let mut exchange = Exchange::begin(worker, direction, peer);
    exchange.read_head(&head);
    exchange.request_progress = body.progress();
    let admitted = admit(worker, &mut exchange, &mut head);
    async move {
        let (cluster, wait) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(refusal.respond(exchange)),
        };
        if let Some(wait) = wait {
            let since = Instant::now();
            tokio::time::sleep(wait).await;
            exchange.queued_us = micros(since.elapsed());
        }
        Ok(forward(&cluster, exchange, head, body).await)
    }
}

/// Everything before the request is forwarded, none of which waits.
fn admit(
    worker: &Worker,
    exchange: &mut Exchange,
    head: &mut Parts,
) -> Result<(Rc<Cluster>, Option<Duration>), Refusal> {
    let request_id = hygiene::request_id(&mut head.headers);
    exchange.request_id = Some(request_id.clone());
    check(exchange, head).map_err(Refusal::bad_request)?;
    // Again, as `Connection` may have named it: the row and the upstream must know the same one.
    head.headers.insert(hygiene::X_REQUEST_ID, request_id);
    exchange.trace = Some(hygiene::continue_trace(&mut head.headers));
    identify(worker, exchange, head).map_err(Refusal::bad_request)?;
    let cluster = find_service(worker, exchange)?;
    let wait = decide(worker, exchange, head)?;
    Ok((cluster, wait))
}

/// Refuses what is malformed, and leaves the head as it will be forwarded.
fn check(exchange: &mut Exchange, head: &mut Parts) -> Result<(), BadRequest> {
    let target = hygiene::read_target(&head.method, &head.uri, head.version, &head.headers)?;
    exchange.host = target.host;
    exchange.path = target.path_and_query;
    hygiene::check_framing(&head.headers)?;
    if hygiene::requested_upgrade(&head.headers) == Upgrade::WebSocket {
        return Err(BadRequest {
            status: StatusCode::NOT_IMPLEMENTED,
            detail: "upgrading the connection is not supported",
        });
    }
    // hyper has promised `100 Continue` by itself as soon as the body is read; the upstream must not be asked again.
    if head
        .headers
        .remove(header::EXPECT)
        .is_some_and(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(BadRequest { status: StatusCode::EXPECTATION_FAILED, detail: "the expectation is unknown" });
    }
    hygiene::strip_hop_by_hop(&mut head.headers);
    hygiene::join_cookies(&mut head.headers);
    exchange.read_user_agent(&head.headers);
    Ok(())
}

/// Finds out who calls, and writes who called into what is forwarded.
fn identify(worker: &Worker, exchange: &mut Exchange, head: &mut Parts) -> Result<(), BadRequest> {
    let config = &worker.config;
    match (exchange.direction(), config.identity) {
        (Direction::Outbound, _) => {
            exchange.source.clone_from(&config.service);
            exchange.source_version.clone_from(&config.version);
            worker.sign(&mut head.headers);
        }
        (Direction::Inbound | Direction::Gateway, Identity::Header) => {
            let mut sources = head.headers.get_all(SOURCE).iter();
            if let Some(source) = sources.next() {
                exchange.source = source.to_str().ok().and_then(|source| source.parse().ok());
                if exchange.source.is_none() || sources.next().is_some() {
                    return Err(BadRequest {
                        status: StatusCode::BAD_REQUEST,
                        detail: "`x-tollgate-source` has to name one service as `namespace/name`",
                    });
                }
            }
            let version = head.headers.get(SOURCE_VERSION).and_then(|version| version.to_str().ok());
            exchange.source_version = version.unwrap_or_default().to_owned();
        }
        (Direction::Inbound | Direction::Gateway, Identity::None) => {
            head.headers.remove(SOURCE);
            head.headers.remove(SOURCE_VERSION);
        }
    }
    Ok(())
}

fn find_service(worker: &Worker, exchange: &mut Exchange) -> Result<Rc<Cluster>, Refusal> {
    if exchange.direction() == Direction::Inbound
        && let Some(cluster) = &worker.fronted
    {
        exchange.destination.clone_from(&worker.config.service);
        exchange.destination_version.clone_from(&worker.config.version);
        exchange.route = worker.config.routes.find(exchange.path.path());
        return Ok(Rc::clone(cluster));
    }
    let found = worker.destinations.find(&exchange.host);
    let (service, cluster) = found.ok_or_else(|| Refusal::unknown_service(exchange.direction(), &exchange.host))?;
    exchange.destination = Some(service.clone());
    Ok(Rc::clone(cluster))
}

/// Asks the enforcer. On the way out it only refuses what would be refused anyway, and takes no token.
fn decide(worker: &Worker, exchange: &mut Exchange, head: &Parts) -> Result<Option<Duration>, Refusal> {
    let policies = worker.enforcer.in_force();
    let Collected { read, labels } = worker.wanted.collect(&policies, &head.headers);
    exchange.labels = labels;
    let facts = Facts {
        source: exchange.source.as_ref().map_or("", ServiceName::as_str),
        destination: exchange.destination.as_ref().map_or("", ServiceName::as_str),
        method: exchange.method.as_str(),
        path: exchange.path.path(),
        host: &exchange.host,
        route: exchange.route.as_deref().unwrap_or_default(),
        scheme: "http",
        protocol: exchange.protocol,
        user_agent: &exchange.user_agent,
        source_address: Some(exchange.peer().address),
        user: "",
        is_mtls: false,
        headers: &read,
        request_bytes: content_length(head),
    };
    let verdict = match exchange.direction() {
        Direction::Outbound if worker.config.identity == Identity::Header => {
            policies.refuses_early(&facts).filter(|early| early.reason != Reason::NoSnapshot)
        }
        // The called side will not believe who calls, and may decide differently.
        Direction::Outbound => None,
        Direction::Inbound | Direction::Gateway => Some(policies.decide(&facts)),
    };
    exchange.decision = Decision::Allow;
    let Some(verdict) = verdict else { return Ok(None) };
    exchange.reason = Some(verdict.reason);
    let is_let_through = verdict.decision == Decision::Allow || passes_without_snapshot(worker, &verdict);
    if !is_let_through {
        // At once: the caller may be gone before he is answered.
        exchange.decision = verdict.decision;
    }
    let wait = verdict.wait;
    let refusal = (!is_let_through).then(|| Refusal::verdict(&verdict));
    exchange.verdict = Some(verdict);
    refusal.map_or(Ok(wait), Err)
}

fn passes_without_snapshot(worker: &Worker, verdict: &Verdict) -> bool {
    verdict.reason == Reason::NoSnapshot && worker.config.without_snapshot == WithoutSnapshot::Allow
}

async fn forward(
    cluster: &Cluster,
    mut exchange: Exchange,
    mut head: Parts,
    body: RequestBody,
) -> Response<ResponseBody> {
    let worker = Rc::clone(exchange.worker());
    if exchange.direction() != Direction::Outbound {
        hygiene::append_forwarded_for(&mut head.headers, exchange.peer().address);
    }
    hygiene::append_via(&mut head.headers, head.version);
    head.uri = Uri::from(exchange.path.clone());
    if let Ok(host) = HeaderValue::from_str(&exchange.host) {
        head.headers.insert(header::HOST, host);
    }
    let since = Instant::now();
    match upstream::send(cluster, Request::from_parts(head, body), &worker.config.timeouts).await {
        Ok(sent) => {
            exchange.upstream_us = Some(micros(since.elapsed()));
            pass_on(sent, exchange)
        }
        Err(failure) => {
            exchange.attempts = failure.attempts;
            exchange.destination_address = failure.address;
            Refusal::upstream(failure.kind).respond(exchange)
        }
    }
}

fn pass_on(sent: Sent, mut exchange: Exchange) -> Response<ResponseBody> {
    exchange.attempts = sent.attempts;
    exchange.destination_address = Some(sent.address);
    let (mut head, body) = sent.response.into_parts();
    // Nothing was asked to be switched: whatever comes now is not HTTP.
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Refusal::upstream(FailureKind::Reset).respond(exchange);
    }
    hygiene::strip_hop_by_hop(&mut head.headers);
    // The upstream's version is its own affair: an answer in HTTP/1.0 would end the caller's connection.
    head.version = Version::default();
    exchange.status = Some(head.status.as_u16());
    if exchange.is_grpc() {
        exchange.read_grpc_status(&head.headers);
    }
    Response::from_parts(head, ResponseBody::forward(body, Box::new(exchange), sent.connection))
}

fn content_length(head: &Parts) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
