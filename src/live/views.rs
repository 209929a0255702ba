//! `tollgate stat`, `top` and `edges`: what the engine's views say, again and again.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval};

use super::args::ViewArgs;
use super::screen::Screen;
use crate::output::{self, Cells, Format};
use crate::{client, shutdown};

/// Rows where it is not known how many fit.
const ROWS: u64 = 50;
/// Lines of a drawing that are no rows: the head, and the one below.
const LINES_AROUND: usize = 5;

/// What is shown, and how.
pub(crate) struct View {
    table: &'static str,
    order: &'static str,
    columns: &'static [(&'static str, &'static str, Unit)],
    /// What it says when there are no rows.
    nothing: &'static str,
}

/// How a number is written for people.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Name,
    Count,
    PerSecond,
    Share,
    Microseconds,
    Bytes,
}

impl View {
    /// Services over the last seconds.
    pub(crate) const STAT: Self = Self {
        table: "services_now",
        order: "requests_per_second DESC, service",
        columns: &[
            ("service", "service", Unit::Name),
            ("requests_per_second", "req/s", Unit::PerSecond),
            ("success", "success", Unit::Share),
            ("p50_us", "p50", Unit::Microseconds),
            ("p99_us", "p99", Unit::Microseconds),
            ("denied_per_second", "denied/s", Unit::PerSecond),
            ("limited_per_second", "limited/s", Unit::PerSecond),
        ],
        nothing: "no service was called in the last 10 seconds",
    };
    /// Callers over the last minute.
    pub(crate) const TOP: Self = Self {
        table: "top_talkers",
        order: "requests DESC, source",
        columns: &[
            ("source", "caller", Unit::Name),
            ("requests_per_second", "req/s", Unit::PerSecond),
            ("requests", "requests", Unit::Count),
            ("bytes", "bytes", Unit::Bytes),
            ("destinations", "destinations", Unit::Count),
            ("denied", "denied", Unit::Count),
            ("limited", "limited", Unit::Count),
        ],
        nothing: "nobody called in the last minute",
    };
    /// Callers and called over the last minute.
    pub(crate) const EDGES: Self = Self {
        table: "edges",
        order: "requests DESC, source, destination",
        columns: &[
            ("source", "caller", Unit::Name),
            ("destination", "called", Unit::Name),
            ("requests_per_second", "req/s", Unit::PerSecond),
            ("success", "success", Unit::Share),
            ("p50_us", "p50", Unit::Microseconds),
            ("p99_us", "p99", Unit::Microseconds),
            ("denied", "denied", Unit::Count),
            ("limited", "limited", Unit::Count),
        ],
        nothing: "nobody called anybody in the last minute",
    };

    fn query(&self, args: &ViewArgs, rows: u64) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, ..)| *name).collect();
        let mut query = format!("SELECT {} FROM {}", names.join(", "), self.table);
        if let Some(filter) = &args.filter {
            // On lines of its own, so that an error names its place, and a comment ends with it.
            let _ = write!(query, " WHERE (\n{filter}\n)");
        }
        let _ = write!(query, " ORDER BY {} LIMIT {rows}", self.order);
        query
    }

    fn render(&self, rows: &[Map<String, Value>]) -> String {
        if rows.is_empty() {
            return format!("{}\n", self.nothing);
        }
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, _, unit)| Cells {
                cells: rows.iter().map(|row| unit.write(row.get(*name).unwrap_or(&Value::Null))).collect(),
                is_number: !matches!(unit, Unit::Name),
            })
            .collect();
        let heads: Vec<_> = self.columns.iter().map(|(_, head, _)| (*head).to_owned()).collect();
        output::layout(&heads, &columns, rows.len())
    }
}

impl Unit {
    fn write(self, value: &Value) -> String {
        let Some(number) = value.as_f64() else {
            return match (value, self) {
                (Value::String(text), _) => output::shown(text),
                // A caller that nobody identified.
                (_, Self::Name) => "(anonymous)".to_owned(),
                _ => String::new(),
            };
        };
        match self {
            Self::Name | Self::Count => value.to_string(),
            Self::PerSecond => format!("{number:.1}"),
            Self::Share => format!("{:.2}%", number * 100.0),
            Self::Microseconds if number < 1_000.0 => format!("{number:.0} us"),
            Self::Microseconds if number < 1_000_000.0 => format!("{:.1} ms", number / 1_000.0),
            Self::Microseconds => format!("{:.2} s", number / 1_000_000.0),
            Self::Bytes => bytes(number),
        }
    }
}

fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = number;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0);
    format!("{number:.decimals$} {}", units[unit])
}

/// Runs the command.
pub(crate) fn run(view: &View, args: &ViewArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = shutdown::on_signal()?;
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            done = show(view, args) => done,
        }
    })
}

async fn show(view: &View, args: &ViewArgs) -> anyhow::Result<()> {
    let mut screen = Screen::new();
    let Some(every) = args.rhythm(screen.is_terminal) else { return once(view, args, &mut screen).await };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        once(view, args, &mut screen).await?;
    }
}

async fn once(view: &View, args: &ViewArgs, screen: &mut Screen) -> anyhow::Result<()> {
    let fit = screen.height().filter(|_| args.output == Format::Table);
    let fit = fit.map_or(ROWS, |height| height.saturating_sub(LINES_AROUND).max(1) as u64);
    let query = view.query(args, args.limit.map_or(fit, std::num::NonZeroU64::get));
    let engine = &args.engine.engine;
    match args.output {
        Format::Table => {
            let json = client::sql(engine, &query, "application/json").await?;
            let rows: Vec<Map<String, Value>> = serde_json::from_slice(&json)?;
            Ok(screen.draw(&view.render(&rows))?)
        }
        Format::Json => {
            let json = client::sql(engine, &query, "application/json").await?;
            Ok(writeln!(io::stdout(), "{}", String::from_utf8_lossy(&json).trim_end())?)
        }
        Format::Csv => Ok(io::stdout().write_all(&client::sql(engine, &query, "text/csv").await?)?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let check = |unit: Unit, value: Value, expected: &str| assert_eq!(unit.write(&value), expected, "{value}");
        check(Unit::Name, json!("shop/catalog"), "shop/catalog");
        check(Unit::Name, Value::Null, "(anonymous)");
        check(Unit::Count, json!(12_345), "12345");
        check(Unit::PerSecond, json!(12.34), "12.3");
        check(Unit::Share, json!(0.9987), "99.87%");
        check(Unit::Share, Value::Null, "");
        check(Unit::Microseconds, json!(812.4), "812 us");
        check(Unit::Microseconds, json!(12_345), "12.3 ms");
        check(Unit::Microseconds, json!(1_250_000), "1.25 s");
        check(Unit::Bytes, json!(812), "812 B");
        check(Unit::Bytes, json!(1_572_864), "1.5 MiB");
    }
}
