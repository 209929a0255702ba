//! `tollgate policy explain DIR REQUEST`: why a request is decided as it is.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::{Map, Value};
use tollgate_policies::tools::{Judge, RequestFacts, explain};

use super::args::ExplainArgs;
use super::said::print;
use super::traffic;

/// Longest request that is read from the standard input, in bytes.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Runs the command.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let loaded = super::load(&args.dir)?;
    let row = row(args)?;
    let snapshot = row.get("snapshot").and_then(Value::as_u64);
    let recorded = ["decision", "reason"].map(|name| row.get(name).and_then(Value::as_str).map(str::to_owned));
    let facts: RequestFacts = serde_json::from_value(Value::Object(row)).context("the request is not understood")?;
    let judge = Judge::new(&loaded.compiled).map_err(anyhow::Error::msg)?;
    let explanation = explain(&judge, &facts, snapshot).map_err(anyhow::Error::msg)?;
    print(&args.output, &explanation, || {
        let mut text = explanation.to_string();
        if let [Some(decision), Some(reason)] = &recorded {
            text.push_str(&format!("\nat the time: {decision} {reason}\n"));
        }
        text
    })
}

fn row(args: &ExplainArgs) -> anyhow::Result<Map<String, Value>> {
    let text = match args.request.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().take(REQUEST_BYTES_MAX).read_to_string(&mut text)?;
            text
        }
        text if text.trim_start().starts_with('{') => text.to_owned(),
        id => return recorded(&args.engine.engine, id),
    };
    serde_json::from_str(&text).context("the request is no JSON object")
}

/// A recorded request with the signals that were known when it began.
fn recorded(engine: &str, id: &str) -> anyhow::Result<Map<String, Value>> {
    let quoted = id.replace('\'', "''");
    // The called side is where it was decided.
    let query = format!(
        "SELECT * FROM requests WHERE request_id = '{quoted}' ORDER BY CASE WHEN direction = 'outbound' THEN 1 ELSE 0 END LIMIT 1"
    );
    let row = traffic::rows(engine, &query)?.into_iter().next();
    let mut row =
        row.with_context(|| format!("no request `{id}` was recorded; a request as JSON begins with a brace"))?;
    let query = format!(
        "SELECT s.entity_type, s.entity, s.signal, s.integer, s.text FROM signals s, \
         (SELECT min(\"time\") AS began FROM requests WHERE request_id = '{quoted}') r \
         WHERE s.\"time\" <= r.began AND s.\"time\" > r.began - INTERVAL '10 seconds' ORDER BY s.\"time\""
    );
    let mut signals: Map<String, Value> = Map::new();
    for sample in traffic::rows(engine, &query)? {
        let text = |name: &str| sample.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = sample.get("integer").filter(|value| !value.is_null()).or_else(|| sample.get("text"));
        let entity = format!("{}::\"{}\"", text("entity_type"), text("entity"));
        let of_entity = signals.entry(entity).or_insert_with(|| Value::Object(Map::new()));
        if let (Some(of_entity), Some(value)) = (of_entity.as_object_mut(), value) {
            of_entity.insert(text("signal"), value.clone());
        }
    }
    row.insert("signals".to_owned(), Value::Object(signals));
    Ok(row)
}
