//! `GET /v1/tail`: rows of `requests` as they are admitted, as server-sent events (WHATWG HTML, section 9.2).
//!
//! | event | data |
//! |---|---|
//! | (none) | one row as a JSON object |
//! | `skipped` | `{"rows": n}`: so many admitted rows were not looked at, because the reader was too slow |
//! | `error` | a problem as JSON: no row can be computed any more |
//! | `end` | `{"rows": n, "reason": "limit"}`, or `shutdown`: nothing follows |
//!
//! A comment is sent at the start and while there is nothing to say. Bound: [`TAILS_MAX`] streams; a reader that does not read
//! holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonFormat;
use arrow::record_batch::RecordBatch;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tollgate_engine::{FollowQuery, Followed, FollowedRows, QueryError, Reader};
use tollgate_promql::api::Parameters;

use super::problem::Problem;
use super::{Asking, Served};

/// Streams at a time.
pub(super) const TAILS_MAX: usize = 64;
/// A comment is sent when there was nothing to say for so long, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Rows that are encoded at a time.
const ROWS_AT_ONCE: usize = 256;
const MEDIA_TYPE: &str = "text/event-stream";
const PARAMETERS: [&str; 3] = ["where", "columns", "limit"];

pub(super) async fn follow(
    State(served): State<Served>,
    Asking(reader): Asking,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    match open(&served, &reader, &headers, query.as_deref().unwrap_or_default()).await {
        Ok(tail) => {
            let rows = futures::stream::unfold(tail, |mut tail| async move { Some((tail.next().await?, tail)) });
            let headers = [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
            (headers, Body::from_stream(rows.map(Ok::<_, std::convert::Infallible>))).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn open(served: &Served, reader: &Reader, headers: &HeaderMap, query: &str) -> Result<Tail, Problem> {
    if !is_accepted(headers) {
        let detail = format!("choose {MEDIA_TYPE}");
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "accept", "no such format", detail));
    }
    let (query, limit) = read(query)?;
    let place = Arc::clone(&served.tails).try_acquire_owned().map_err(|_| {
        let detail = format!("{TAILS_MAX} tails are open: close one, or try again later");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "tails", "too many tails", detail)
    })?;
    let Followed { batches, .. } = served.engine.follow(reader, query).await.map_err(|error| Problem::from(&error))?;
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Tail { batches, heartbeat, left: limit, sent: 0, pending: None, phase: Phase::Opening, _place: place })
}

fn is_accepted(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    values.peek().is_none()
        || values
            .flat_map(|value| value.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim())
            .any(|range| ["*/*", "text/*", MEDIA_TYPE].contains(&range))
}

/// What to follow, and after how many rows to end.
fn read(query: &str) -> Result<(FollowQuery, Option<u64>), Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "parameters", "wrong parameter", detail);
    let mut parameters = Parameters::default();
    parameters.decode(query);
    for name in parameters.names() {
        if !PARAMETERS.contains(&name) {
            return Err(wrong(format!("unknown parameter `{name}`; there are `{}`", PARAMETERS.join("`, `"))));
        }
        if parameters.all(name).count() > 1 {
            return Err(wrong(format!("`{name}` is there several times")));
        }
    }
    let limit = parameters.get("limit").map(|text| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text.parse::<u64>().ok().filter(|limit| is_number && *limit > 0);
        limit.ok_or_else(|| wrong(format!("`limit` is `{text}`: write a whole number from 1 on")))
    });
    let text = |name| parameters.get(name).map(str::to_owned);
    Ok((FollowQuery { filter: text("where"), columns: text("columns") }, limit.transpose()?))
}

/// One stream.
struct Tail {
    batches: BoxStream<'static, Result<FollowedRows, QueryError>>,
    heartbeat: Interval,
    /// Rows until the end, where there is one.
    left: Option<u64>,
    sent: u64,
    /// Rows that are not encoded yet.
    pending: Option<RecordBatch>,
    phase: Phase,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent: the client waits for a sign that following has begun.
    Opening,
    Open,
    Over,
}

impl Tail {
    async fn next(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Opening => {
                self.phase = Phase::Open;
                return Some(Bytes::from_static(b": following\n\n"));
            }
            Phase::Over => return None,
            Phase::Open => {}
        }
        loop {
            if self.left == Some(0) {
                return Some(self.end("limit"));
            }
            if let Some(rows) = self.pending.take() {
                return Some(self.rows(&rows));
            }
            tokio::select! {
                batch = self.batches.next() => match batch {
                    Some(Ok(FollowedRows { rows, missed })) => {
                        self.pending = Some(rows).filter(|rows| rows.num_rows() > 0);
                        if missed > 0 {
                            return Some(event("skipped", &serde_json::json!({ "rows": missed })));
                        }
                    }
                    Some(Err(error)) => return Some(self.failed(&error)),
                    None => return Some(self.end("shutdown")),
                },
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": nothing new\n\n")),
            }
        }
    }

    /// The first rows as events; the others are kept for later.
    fn rows(&mut self, rows: &RecordBatch) -> Bytes {
        let left = self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        let now = rows.num_rows().min(ROWS_AT_ONCE).min(left);
        let later = rows.slice(now, rows.num_rows() - now);
        self.pending = Some(later).filter(|later| later.num_rows() > 0);
        self.left = self.left.map(|left| left.saturating_sub(now as u64));
        self.sent += now as u64;
        self.heartbeat.reset();
        encode(&rows.slice(0, now)).unwrap_or_else(|error| self.failed(&error.into()))
    }

    fn failed(&mut self, error: &QueryError) -> Bytes {
        self.phase = Phase::Over;
        event("error", &Problem::from(error).json())
    }

    fn end(&mut self, reason: &str) -> Bytes {
        self.phase = Phase::Over;
        event("end", &serde_json::json!({ "rows": self.sent, "reason": reason }))
    }
}

fn event(name: &str, data: &serde_json::Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// One event a row. JSON has no line breaks, so that each is one line of data.
fn encode(rows: &RecordBatch) -> Result<Bytes, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, Events>(Vec::new());
    writer.write(rows)?;
    writer.finish()?;
    Ok(writer.into_inner().into())
}

#[derive(Debug, Default)]
struct Events;

impl JsonFormat for Events {
    fn start_row<W: std::io::Write>(&self, writer: &mut W, _is_first_row: bool) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"data: ")?)
    }

    fn end_row<W: std::io::Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"\n\n")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused() {
        let (query, limit) = read("where=status+%3E%3D+500&columns=time,source&limit=7").unwrap();
        assert_eq!(query.filter.as_deref(), Some("status >= 500"));
        assert_eq!(query.columns.as_deref(), Some("time,source"));
        assert_eq!(limit, Some(7));
        assert_eq!(read("").unwrap(), (FollowQuery::default(), None));
        for wrong in ["limit=0", "limit=-1", "limit=%2B5", "limit=x", "limit=1&limit=2", "wehre=true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
