//! A small HTTP client for the engine's own endpoints.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::credentials;

/// Runs one query and returns the rows in the media type asked for.
///
/// # Errors
/// The engine's own explanation where it refused the query.
pub(crate) async fn sql(engine: &str, query: &str, media_type: &str) -> anyhow::Result<Bytes> {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/sql")
        .header(HOST, authority(engine)?)
        .header(ACCEPT, media_type)
        .header(CONTENT_TYPE, "application/sql")
        .body(Full::new(Bytes::from(query.to_owned())))?;
    let (status, body) = send(engine, request).await?;
    if status.is_success() {
        return Ok(body);
    }
    Err(refused(status, &body))
}

/// A body that goes on and on.
pub(crate) struct Stream(Incoming);

impl Stream {
    /// The next piece; `None` at its end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.0.frame().await else { return Ok(None) };
            if let Ok(data) = frame.context("the engine broke its answer off")?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// Asks for a body that goes on and on.
///
/// # Errors
/// The engine's own explanation where it refused.
pub(crate) async fn stream(
    engine: &str,
    path: &str,
    parameters: &[(&str, &str)],
    media_type: &str,
) -> anyhow::Result<Stream> {
    let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let request = Request::builder()
        .uri(format!("{path}?{}", query.join("&")))
        .header(HOST, authority(engine)?)
        .header(ACCEPT, media_type)
        .body(Full::default())?;
    let response = start(engine, request).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(Stream(response.into_body()));
    }
    Err(refused(status, &whole(response).await?))
}

async fn send(engine: &str, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let response = start(engine, request).await?;
    Ok((response.status(), whole(response).await?))
}

/// Sends a request on a connection of its own.
async fn start(engine: &str, mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    if let Some(authorization) = credentials::authorization()? {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let authority = authority(engine)?;
    let stream = TcpStream::connect(with_port(authority, is_tls(engine))).await.with_context(|| {
        format!("no engine at `{engine}`: start one with `tollgate serve` or name it with --engine")
    })?;
    match is_tls(engine) {
        false => over(TokioIo::new(stream), request).await,
        true => {
            let host = authority.parse::<hyper::http::uri::Authority>()?.host().to_owned();
            let host = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
            let connector = TlsConnector::from(credentials::tls()?);
            let stream = connector.connect(host, stream).await;
            let stream = stream.with_context(|| {
                format!("no TLS with the engine at `{engine}`: name the authority of its certificate with --ca")
            })?;
            over(TokioIo::new(stream), request).await
        }
    }
}

async fn over<S>(stream: TokioIo<S>, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // The connection ends with the sender and the body.
    tokio::spawn(connection);
    sender.send_request(request).await.context("the engine did not answer: is that its HTTP port?")
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    Ok(response.into_body().collect().await.context("the engine broke its answer off")?.to_bytes())
}

fn refused(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match problem["detail"].as_str() {
        Some(detail) => anyhow!("{detail}"),
        None => anyhow!("the engine answered {status}"),
    }
}

/// For a value in the query of a URL (RFC 3986, section 2).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn is_tls(engine: &str) -> bool {
    engine.starts_with("https://")
}

/// Host and port of the engine's URL.
fn authority(engine: &str) -> anyhow::Result<&str> {
    let rest = engine.strip_prefix("http://").or_else(|| engine.strip_prefix("https://"));
    let Some(rest) = rest else {
        bail!("`{engine}` is no engine: write http://HOST:PORT or https://HOST:PORT");
    };
    Ok(rest.trim_end_matches('/'))
}

/// With the port that the scheme stands for, where none is named.
fn with_port(authority: &str, is_tls: bool) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:{}", if is_tls { 443 } else { 80 }),
    }
}
