//! What Grafana makes of a query before it sends it: variables first, in the browser, then the macros of the data source.
//!
//! For tests that run the dashboards' queries without a Grafana. SQL follows `pkg/tsdb/grafana-postgresql-datasource/macros.go`,
//! PromQL `pkg/promlib/models/query.go`.

use std::fmt::Write;

/// Span of a dashboard and the length of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Milliseconds since the epoch.
    pub from_ms: i64,
    /// Milliseconds since the epoch.
    pub to_ms: i64,
    /// `$__interval`; above 0.
    pub interval_ms: i64,
}

/// A macro that Grafana would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroError(String);

impl std::fmt::Display for MacroError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MacroError {}

/// Puts values in the place of `$name`, `${name}` and `${name:format}`. Formats: `sqlstring`, `regex`, `raw`.
#[must_use]
pub fn fill(text: &str, variables: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let (name, format, after) = reference(tail);
        match variables.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(&formatted(value, format)),
            None => filled.push_str(&rest[at..rest.len() - after.len()]),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Name and format of the variable that the text begins with, and what follows it.
fn reference(tail: &str) -> (&str, &str, &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some((inner, after)) = tail.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
        return (name, format, after);
    }
    let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
    (&tail[..end], "", &tail[end..])
}

fn formatted(value: &str, format: &str) -> String {
    match format {
        "sqlstring" => format!("'{}'", value.replace('\'', "''")),
        "regex" => value.chars().fold(String::new(), |mut escaped, c| {
            if "\\^$.*+?()[]{}|/".contains(c) {
                escaped.push('\\');
            }
            escaped.push(c);
            escaped
        }),
        _ => value.to_owned(),
    }
}

/// SQL as the PostgreSQL data source sends it.
///
/// # Errors
/// If a macro is unknown or has the wrong arguments.
pub fn sql(text: &str, span: Span) -> Result<String, MacroError> {
    let text = text
        .replace("$__interval_ms", &span.interval_ms.to_string())
        .replace("$__interval", &interval(span.interval_ms))
        .replace("$__unixEpochFrom()", &span.from_ms.div_euclid(1000).to_string())
        .replace("$__unixEpochTo()", &span.to_ms.div_euclid(1000).to_string());
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("$__") {
        let tail = &rest[at + 1..];
        let name_end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
        let (name, tail) = tail.split_at(name_end);
        // Arguments end at the first closing bracket, as in Grafana: they cannot hold calls.
        let call = tail.strip_prefix('(').and_then(|arguments| arguments.split_once(')'));
        let (arguments, after) = call.ok_or_else(|| MacroError(format!("macro `{name}` has no arguments")))?;
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        expanded.push_str(&rest[..at]);
        // A comma right after the group means that it is a column of its own, which Grafana names.
        let is_column = name == "__timeGroup" && after.starts_with(',');
        let name = if is_column { "__timeGroupAlias" } else { name };
        expanded.push_str(&macro_text(name, &arguments, span)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn macro_text(name: &str, arguments: &[&str], span: Span) -> Result<String, MacroError> {
    let column = arguments.first().copied().unwrap_or_default();
    let (from, to) = (rfc3339(span.from_ms), rfc3339(span.to_ms));
    let (from_s, to_s) = (span.from_ms.div_euclid(1000), span.to_ms.div_euclid(1000));
    if column.is_empty() && !matches!(name, "__timeFrom" | "__timeTo") {
        return Err(MacroError(format!("macro `{name}` needs a time column")));
    }
    Ok(match name {
        "__time" => format!("{column} AS \"time\""),
        "__timeEpoch" => format!("extract(epoch from {column}) as \"time\""),
        "__timeFilter" => format!("{column} BETWEEN '{from}' AND '{to}'"),
        "__timeFrom" => format!("'{from}'"),
        "__timeTo" => format!("'{to}'"),
        "__timeGroup" => format!("floor(extract(epoch from {column})/{0})*{0}", seconds(name, arguments)?),
        "__timeGroupAlias" => {
            format!("floor(extract(epoch from {column})/{0})*{0} AS \"time\"", seconds(name, arguments)?)
        }
        "__unixEpochFilter" => format!("{column} >= {from_s} AND {column} <= {to_s}"),
        "__unixEpochGroup" => format!("floor(({column})/{0})*{0}", seconds(name, arguments)?),
        _ => return Err(MacroError(format!("unknown macro `{name}`"))),
    })
}

/// The second argument, such as `5m` or `'5m'`, in seconds.
fn seconds(name: &str, arguments: &[&str]) -> Result<f64, MacroError> {
    let text = arguments.get(1).map(|text| text.trim_matches('\'')).unwrap_or_default();
    let wrong = || MacroError(format!("macro `{name}` needs an interval such as `5m`, not `{text}`"));
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    Ok(number.parse::<f64>().map_err(|_| wrong())? * unit_s)
}

/// PromQL as the Prometheus data source sends it. `scrape_ms` is the data source's scrape interval.
#[must_use]
pub fn promql(text: &str, span: Span, scrape_ms: i64) -> String {
    let rate_ms = (span.interval_ms + scrape_ms).max(4 * scrape_ms);
    let range_ms = span.to_ms - span.from_ms;
    let values = [
        ("__rate_interval_ms", rate_ms.to_string()),
        ("__rate_interval", interval(rate_ms)),
        ("__interval_ms", span.interval_ms.to_string()),
        ("__interval", interval(span.interval_ms)),
        ("__range_ms", range_ms.to_string()),
        ("__range_s", (range_ms / 1000).to_string()),
        ("__range", format!("{}s", range_ms / 1000)),
    ];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fill(text, &values)
}

/// In the greatest unit of which there is at least one, rounded down, as Grafana does it.
fn interval(interval_ms: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let whole = units.into_iter().find(|(_, unit_ms)| interval_ms >= *unit_ms);
    whole.map_or_else(
        || format!("{}ms", interval_ms.max(1)),
        |(unit, unit_ms)| format!("{}{unit}", interval_ms / unit_ms),
    )
}

/// With as many digits of the second as there are, in UTC (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if of_day % 1000 != 0 {
        let digits = format!("{:03}", of_day % 1000);
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { from_ms: 1_435_781_451_780, to_ms: 1_435_785_051_000, interval_ms: 60_000 };

    #[test]
    fn sql_is_what_grafana_sends() {
        let check = |text: &str, expected: &str| assert_eq!(sql(text, SPAN).unwrap(), expected);
        check(
            "WHERE $__timeFilter(time) AND x",
            "WHERE time BETWEEN '2015-07-01T20:10:51.78Z' AND '2015-07-01T21:10:51Z' AND x",
        );
        check("SELECT $__timeGroup(time, '5m'), x", "SELECT floor(extract(epoch from time)/300)*300 AS \"time\", x");
        check("GROUP BY $__timeGroup(time,$__interval)", "GROUP BY floor(extract(epoch from time)/60)*60");
        check("$__timeGroupAlias(time, 500ms)", "floor(extract(epoch from time)/0.5)*0.5 AS \"time\"");
        check("$__timeEpoch(t)", "extract(epoch from t) as \"time\"");
        check("$__unixEpochFilter(t) / $__interval_ms", "t >= 1435781451 AND t <= 1435785051 / 60000");
        check("$__unixEpochTo() - $__unixEpochFrom()", "1435785051 - 1435781451");
        check("$__timeFrom()", "'2015-07-01T20:10:51.78Z'");
        for wrong in ["$__nothing(a)", "$__timeFilter", "$__timeGroup(a)", "$__timeGroup(a,b)", "$__timeFilter()"] {
            assert!(sql(wrong, SPAN).is_err(), "{wrong}");
        }
    }

    #[test]
    fn promql_is_what_grafana_sends() {
        let check = |text: &str, expected: &str| assert_eq!(promql(text, SPAN, 15_000), expected);
        check("rate(a[$__rate_interval])", "rate(a[1m])");
        check("rate(a[${__interval}]) + $__range_s", "rate(a[1m]) + 3599");
        check("a{b=~\"x$\"}", "a{b=~\"x$\"}");
    }

    #[test]
    fn variables_are_filled_in_their_format() {
        let variables = [("service", "shop/o'neill"), ("a", "1")];
        let check = |text: &str, expected: &str| assert_eq!(fill(text, &variables), expected);
        check("x = ${service:sqlstring} $a", "x = 'shop/o''neill' 1");
        check("{s=~\"${service:regex}\"}", "{s=~\"shop\\/o'neill\"}");
        check("$other ${other:csv} $", "$other ${other:csv} $");
        check("traffic_${a}", "traffic_1");
    }
}
