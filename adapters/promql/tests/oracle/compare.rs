//! One question to both sides.

use serde_json::Value;
use tollgate_promql::api::{Envelope, Parameters, RangeRequest};
use tollgate_promql::{Answer, Error, Options, Query, Range};

use crate::prometheus::Prometheus;
use crate::samples::{END_MS, Memory, START_MS};

/// Relative difference that the order of additions may make.
const TOLERANCE: f64 = 1e-9;

pub(crate) struct Comparison<'a> {
    oracle: &'a Prometheus,
    source: Memory,
    questions: usize,
    answered: usize,
    differences: Vec<String>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(oracle: &'a Prometheus, series: Vec<tollgate_promql::Series>) -> Self {
        Self { oracle, source: Memory(series), questions: 0, answered: 0, differences: Vec::new() }
    }

    pub(crate) fn instant(&mut self, expression: &str) {
        for time_ms in [START_MS + 900_000, START_MS + 1_234_567, END_MS + 200_000] {
            let theirs = self.oracle.ask("/api/v1/query", &[("query", expression), ("time", &seconds(time_ms))]);
            let query = Query::parse(expression);
            let ours = query.and_then(|query| query.instant(&self.source, time_ms, &Options::default()));
            self.check(&format!("{expression} at {}", seconds(time_ms)), &theirs, ours, expression.starts_with("sort"));
        }
    }

    pub(crate) fn range(&mut self, expression: &str) {
        let range = Range { start_ms: START_MS - 60_000, end_ms: END_MS + 400_000, step_ms: 37_000 };
        let [start, end, step] = [range.start_ms, range.end_ms, range.step_ms].map(seconds);
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", &step)];
        let theirs = self.oracle.ask("/api/v1/query_range", &parameters);
        let ours = Query::parse(expression).and_then(|query| query.range(&self.source, range, &Options::default()));
        self.check(&format!("{expression} over a range"), &theirs, ours, false);
    }

    /// A form for `query_range`, as a client sends it. Complaints about parameters have the same words.
    pub(crate) fn form(&mut self, form: &str) {
        let theirs = self.oracle.ask_form("/api/v1/query_range", form);
        let mut parameters = Parameters::default();
        parameters.decode(form);
        let request = RangeRequest::read(&parameters);
        let ours = request.and_then(|request| request.query.range(&self.source, request.range, &Options::default()));
        let error = ours.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if !same_complaint(theirs["error"].as_str().unwrap_or_default(), &error) {
            self.differences.push(format!("{form}: {} against {error}", theirs["error"]));
        }
        self.check(form, &theirs, ours, false);
    }

    pub(crate) fn finish(self) {
        println!("{} questions, {} with an answer", self.questions, self.answered);
        assert!(self.answered * 2 > self.questions, "most questions should have an answer that is not empty");
        let shown: Vec<_> = self.differences.iter().take(40).cloned().collect();
        let (different, questions) = (self.differences.len(), self.questions);
        assert!(shown.is_empty(), "{different} of {questions} answers differ:\n{}", shown.join("\n"));
    }

    fn check(&mut self, question: &str, theirs: &Value, ours: Result<Answer, Error>, is_ordered: bool) {
        self.questions += 1;
        let ours = serde_json::to_value(Envelope::from(ours)).unwrap();
        self.answered += usize::from(ours["data"]["result"].as_array().is_some_and(|series| !series.is_empty()));
        if let Some(difference) = difference(theirs, &ours, is_ordered) {
            self.differences.push(format!("{question}: {difference}"));
        }
    }
}

/// The parser has words of its own, and so has whoever reads numbers.
fn same_complaint(theirs: &str, ours: &str) -> bool {
    let about = |text: &str| text.split(": ").next().unwrap_or_default().to_owned();
    theirs == ours
        || theirs.contains("parse error")
        || (theirs.contains("cannot parse") && about(theirs) == about(ours))
}

fn seconds(ms: i64) -> String {
    format!("{}", ms as f64 / 1000.0)
}

fn difference(theirs: &Value, ours: &Value, is_ordered: bool) -> Option<String> {
    if theirs["status"] != ours["status"] || theirs["errorType"] != ours["errorType"] {
        return Some(format!(
            "{} {} against ours: {} {}",
            theirs["status"], theirs["error"], ours["status"], ours["error"]
        ));
    }
    if theirs["data"]["resultType"] != ours["data"]["resultType"] {
        return Some(format!("{} against {}", theirs["data"]["resultType"], ours["data"]["resultType"]));
    }
    let (theirs, ours) = (&theirs["data"]["result"], &ours["data"]["result"]);
    if matches!(theirs.as_array().and_then(|series| series.first()), None | Some(Value::Object(_))) {
        return different_series(&sorted(theirs, is_ordered), &sorted(ours, is_ordered));
    }
    (!same(theirs, ours)).then(|| format!("{theirs} against {ours}"))
}

fn sorted(series: &Value, is_ordered: bool) -> Vec<Value> {
    let mut series = series.as_array().cloned().unwrap_or_default();
    if !is_ordered {
        series.sort_by_key(|series| series["metric"].to_string());
    }
    series
}

fn different_series(theirs: &[Value], ours: &[Value]) -> Option<String> {
    if theirs.len() != ours.len() {
        let first = |all: &[Value]| all.first().cloned().unwrap_or_default();
        let (a, b) = (first(theirs), first(ours));
        return Some(format!("{} series against {}, first {a} against {b}", theirs.len(), ours.len()));
    }
    theirs.iter().zip(ours).find(|(a, b)| !same(a, b)).map(|(a, b)| format!("\n  {a}\n  against\n  {b}"))
}

/// Equal, but for the last digits of numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => a == b || near(a, b),
        _ => a == b,
    }
}

fn near(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
