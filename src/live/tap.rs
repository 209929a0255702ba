//! `tollgate tap`: requests as they come in, a line each.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::args::TapArgs;
use super::events::{Event, Events};
use crate::output::{self, Format};
use crate::{client, shutdown};

/// What a person sees of a request unless it says otherwise.
const COLUMNS: &str = "time, source, destination, method, path, status, duration_us, decision, reason";

/// The engine says something each five seconds, if only that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Runs the command. It ends after the rows that were asked for or with Ctrl-C; when the engine ends, that is an error.
pub(crate) fn run(args: &TapArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            done = follow(args) => done,
        }
    })
}

async fn follow(args: &TapArgs) -> anyhow::Result<()> {
    let limit = args.limit.map(|limit| limit.to_string());
    let columns = args.columns.as_deref().or((args.output != Format::Json).then_some(COLUMNS));
    let parameters = [("where", args.filter.as_deref()), ("columns", columns), ("limit", limit.as_deref())];
    let parameters: Vec<_> = parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let stream = client::stream(&args.engine.engine, "/v1/tail", &parameters, "text/event-stream");
    let mut stream = spoken(stream).await??;
    let (mut events, mut lines) = (Events::default(), Lines::new(args.output));
    loop {
        let Some(bytes) = spoken(stream.next()).await?? else { bail!("the engine broke off") };
        events.push(&bytes);
        while let Some(Event { name, data }) = events.event()? {
            match name.as_str() {
                "" => lines.row(&data)?,
                "skipped" => {
                    let rows = serde_json::from_str::<Value>(&data)?["rows"].as_u64().unwrap_or(0);
                    eprintln!("tollgate: {rows} requests were not looked at: they come faster than they are read");
                }
                "error" => {
                    let problem: Value = serde_json::from_str(&data)?;
                    return Err(anyhow!("{}", problem["detail"].as_str().unwrap_or("the engine cannot go on")));
                }
                "end" if data.contains("limit") => return lines.flush(),
                "end" => bail!("the engine has ended"),
                // From a newer engine.
                _ => {}
            }
        }
        lines.flush()?;
    }
}

/// What the engine says, if it says anything.
async fn spoken<T>(said: impl Future<Output = T>) -> anyhow::Result<T> {
    let said = tokio::time::timeout(SILENCE_MAX, said).await;
    said.map_err(|_| anyhow!("the engine has been silent for {} s", SILENCE_MAX.as_secs()))
}

/// One row of JSON, in its order.
struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Row(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Writes rows below each other. Columns become wider with what they hold, and stay so.
struct Lines {
    format: Format,
    widths: Vec<usize>,
    out: io::BufWriter<io::Stdout>,
}

impl Lines {
    fn new(format: Format) -> Self {
        Self { format, widths: Vec::new(), out: io::BufWriter::new(io::stdout()) }
    }

    fn row(&mut self, data: &str) -> anyhow::Result<()> {
        if self.format == Format::Json {
            return Ok(writeln!(self.out, "{data}")?);
        }
        let Row(row) = serde_json::from_str(data)?;
        let is_first = self.widths.is_empty();
        let cells = row.iter().map(|(_, value)| text(value));
        if self.format == Format::Csv {
            if is_first {
                self.widths = vec![0; row.len().max(1)];
                self.csv(row.iter().map(|(name, _)| name.clone()))?;
            }
            return self.csv(cells);
        }
        let cells: Vec<_> = row.iter().zip(cells).map(|((_, value), cell)| (cell, value.is_number())).collect();
        if is_first {
            self.widths = row.iter().map(|(name, _)| name.chars().count()).collect();
        }
        self.widths.iter_mut().zip(&cells).for_each(|(width, (cell, _))| *width = cell.chars().count().max(*width));
        if is_first {
            let heads: Vec<_> = row.iter().map(|(name, _)| (name.clone(), false)).collect();
            self.line(&heads)?;
        }
        self.line(&cells)
    }

    fn line(&mut self, cells: &[(String, bool)]) -> anyhow::Result<()> {
        let padded = cells.iter().zip(&self.widths).map(|((cell, is_number), &width)| match is_number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        Ok(writeln!(self.out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?)
    }

    fn csv(&mut self, cells: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let quoted = cells.map(|cell| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell,
        });
        Ok(writeln!(self.out, "{}", quoted.collect::<Vec<_>>().join(","))?)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => output::shown(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_control_characters_are_not_shown() {
        let Row(row) =
            serde_json::from_str(r#"{"time":"1","status":null,"path":"/\u001b[2J","policies":["a","b"]}"#).unwrap();
        let seen: Vec<_> = row.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        let expected = [("time", "1"), ("status", ""), ("path", "/\u{fffd}[2J"), ("policies", "a b")];
        assert_eq!(seen, expected.map(|(name, text)| (name, text.to_owned())));
    }
}
