//! A small HTTP client for the engine's own endpoints.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

async fn send(engine: &str, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let authority = authority(engine)?;
    let stream = TcpStream::connect(authority).await.with_context(|| {
        format!("no engine at `{engine}`: start one with `tollgate serve` or name it with --engine")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection ends with the sender, at the end of this function.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the engine broke its answer off")?.to_bytes();
    Ok((status, body))
}

/// Host and port of an `http://` URL.
fn authority(engine: &str) -> anyhow::Result<&str> {
    let Some(rest) = engine.strip_prefix("http://") else {
        bail!("`{engine}` is no engine: write http://HOST:PORT");
    };
    Ok(rest.trim_end_matches('/'))
}
