//! A small HTTP client for the engine's own endpoints.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
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
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match problem["detail"].as_str() {
        Some(detail) => Err(anyhow!("{detail}")),
        None => Err(anyhow!("the engine answered {status}")),
    }
}

async fn send(engine: &str, mut request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
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

async fn over<S>(stream: TokioIo<S>, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // The connection ends with the sender, at the end of this function.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.context("the engine did not answer: is that its HTTP port?")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the engine broke its answer off")?.to_bytes();
    Ok((status, body))
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
