//! `POST /v1/sql`: runs one query and streams its rows in the format that the client accepts.

use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tollgate_engine::{QueryError, Reader};

use super::problem::Problem;
use super::rows::{Encoder, Format};
use super::{Asking, Served};

/// What a body of SQL may be called. The last is what curl calls it that is told nothing else.
const BODY_TYPES: [&str; 3] = ["text/plain", "application/sql", "application/x-www-form-urlencoded"];

fn is_text(headers: &HeaderMap) -> bool {
    let Some(named) = headers.get(CONTENT_TYPE) else { return true };
    let named = named.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    BODY_TYPES.contains(&named.as_str())
}

/// The first format that the client names; JSON where it takes anything or says nothing.
fn accepted(headers: &HeaderMap) -> Option<Format> {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if values.peek().is_none() {
        return Some(Format::Json);
    }
    values.flat_map(|value| value.split(',')).find_map(|range| {
        match range.split(';').next().unwrap_or_default().trim() {
            "*/*" | "application/*" => Some(Format::Json),
            "text/*" => Some(Format::Csv),
            range => Format::ALL.into_iter().find(|format| format.media_type() == range),
        }
    })
}

pub(super) async fn query(
    State(served): State<Served>,
    Asking(reader): Asking,
    headers: HeaderMap,
    sql: String,
) -> Response {
    let Some(format) = accepted(&headers) else {
        let formats = Format::ALL.map(Format::media_type).join(", ");
        return Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "accept",
            "no such format",
            format!("choose one of {formats}"),
        )
        .into_response();
    };
    if !is_text(&headers) {
        let detail = format!("send SQL as {}", BODY_TYPES.join(" or "));
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "no such content", detail)
            .into_response();
    }
    match rows(&served, &reader, &sql, format).await {
        Ok(body) => ([(CONTENT_TYPE, format.media_type())], body).into_response(),
        Err(error) => Problem::from(&error).into_response(),
    }
}

/// The encoded rows. The first batch is awaited before anything is sent, so that a query which fails at once is answered with
/// an error; one that fails later breaks the chunked response off, which no client takes for its end.
async fn rows(served: &Served, reader: &Reader, sql: &str, format: Format) -> Result<Body, QueryError> {
    let result = served.engine.query(reader, sql).await?;
    let mut batches = result.batches;
    let first = batches.next().await.transpose()?;
    let encoder = Encoder::new(format, &result.schema).map_err(QueryError::from)?;
    let batches = futures::stream::iter(first.map(Ok)).chain(batches);
    Ok(Body::from_stream(encode(encoder, batches)))
}

fn encode(
    encoder: Encoder,
    batches: impl Stream<Item = Result<RecordBatch, QueryError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    // The empty batch at the end stands for the end of the rows.
    let batches = batches.map(|batch| batch.map(Some)).chain(futures::stream::once(async { Ok(None) }));
    batches.scan(encoder, |encoder, batch| {
        let bytes = batch.and_then(|batch| match batch {
            Some(batch) => encoder.write(&batch).map_err(QueryError::from),
            None => encoder.finish().map_err(QueryError::from),
        });
        std::future::ready(Some(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_format_named_is_chosen() {
        let check = |accept: Option<&'static str>, expected: Option<Format>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(accepted(&headers), expected, "{accept:?}");
        };
        check(None, Some(Format::Json));
        check(Some("*/*"), Some(Format::Json));
        check(Some("text/csv"), Some(Format::Csv));
        check(Some("text/html, application/vnd.apache.arrow.stream;q=0.9, */*;q=0.1"), Some(Format::Arrow));
        check(Some("image/png"), None);
    }
}
