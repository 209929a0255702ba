//! What the oracle cannot tell: limits, refusals, counters kept as increments, and what a query will ask its source for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test or benchmark that cannot go on fails"
)]

use std::time::Instant;

use proptest::prelude::*;
use tollgate_promql::{
    Answer, Error, Increment, Increments, Labels, Moments, Options, Query, Range, Samples, Selection, Series, Source,
    SourceError, parse_selector,
};

struct Fixed(Vec<Series>);

impl Source for Fixed {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, SourceError> {
        Ok(self.0.iter().filter(|series| selection.matches(&series.labels)).cloned().collect())
    }
}

/// Ten calls a second for ten minutes, kept second by second, of two callers.
fn calls() -> Fixed {
    let interval = |second: i64| Increment { start_ms: second * 1000, end_ms: (second + 1) * 1000, by: 10.0 };
    let counter =
        Increments { before: 1000.0, intervals: (0..600).map(interval).collect(), complete_until_ms: i64::MAX };
    let series = |source: &str| Series {
        labels: [("__name__", "calls_total"), ("source", source)].into_iter().collect(),
        samples: Samples::Increments(counter.clone()),
    };
    Fixed(vec![series("web"), series("cart")])
}

fn instant(query: &str, time_ms: i64, options: &Options) -> Result<Answer, Error> {
    Query::parse(query)?.instant(&calls(), time_ms, options)
}

fn check(query: &str, time_ms: i64, expected: &[f64]) {
    let Ok(Answer::Vector(_, series)) = instant(query, time_ms, &Options::default()) else { panic!("{query}") };
    let values: Vec<f64> = series.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, expected, "{query}");
}

#[test]
fn counters_kept_as_increments_are_exact() {
    check("rate(calls_total[1m])", 300_000, &[10.0, 10.0]);
    check("sum(increase(calls_total[17s]))", 300_000, &[340.0]);
    check("sum(increase(calls_total[17s] offset 1m))", 300_000, &[340.0]);
    check("irate(calls_total{source=\"web\"}[1m])", 300_500, &[10.0]);
    check("sum(rate(calls_total[1m]))", 630_000, &[10.0]);
    check("sum(rate(calls_total[1m]))", 700_000, &[0.0]);
    check("sum(rate(calls_total[1m]))", 1_000_000, &[]);
    check("calls_total{source=\"web\"}", 300_000, &[4000.0]);
    check("calls_total{source=\"web\"}", 899_999, &[7000.0]);
    check("calls_total", 900_001, &[]);
    check("max_over_time(sum(rate(calls_total[1m]))[5m:1m])", 300_000, &[20.0]);
}

#[test]
fn says_what_it_will_read_and_what_for() {
    let query = Query::parse(
        "sum by (source) (rate(a{b=\"c\"}[2m])) / on () group_left sum(d offset 1m) or max_over_time(e[1h])",
    );
    let range = Range { start_ms: 10_000_000, end_ms: 20_000_000, step_ms: 60_000 };
    let selections = query.unwrap().selections(Moments::Each(range), &Options::default()).unwrap();
    let spans: Vec<(i64, i64)> = selections.iter().map(|selection| (selection.start_ms, selection.end_ms)).collect();
    assert_eq!(spans, [(9_700_000, 20_000_000), (9_640_000, 19_940_000), (6_400_000, 20_000_000)]);
    let [rate, plain, window] = selections.as_slice() else { panic!("{selections:?}") };
    assert_eq!((rate.function, rate.range_ms, rate.totals), (Some("rate"), Some(120_000), false));
    assert_eq!(rate.summed_by.as_deref(), Some(["source".to_owned()].as_slice()));
    assert_eq!(
        rate.matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["b=\"c\"", "__name__=\"a\""].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    assert_eq!((plain.function, plain.totals, &plain.summed_by), (None, true, &None));
    assert_eq!((window.function, window.totals), (Some("max_over_time"), true));
}

#[test]
fn refuses_what_is_too_much() {
    let check = |query: &str, options: Options, expected: &str| {
        let error = instant(query, 300_000, &options).unwrap_err();
        assert!(error.to_string().contains(expected), "{query}: {error}");
    };
    let few = Options { samples_max: 1000, ..Options::default() };
    check("sum(calls_total)", few, "more than 1000 samples");
    check("sum(calls_total)", Options { series_max: 1, ..Options::default() }, "more than 1 series");
    check("max_over_time(vector(1)[100y:1ms])", Options::default(), "more than 20000000 samples");
    check("sum_over_time(time()[1y:1ms])", Options::default(), "only allowed on vector");
    check("sum(calls_total)", Options { deadline: Some(Instant::now()), ..Options::default() }, "timed out");
    let range = |end_ms, step_ms| {
        let query = Query::parse("sum(calls_total)").unwrap();
        query.range(&calls(), Range { start_ms: 0, end_ms, step_ms }, &Options::default())
    };
    assert!(range(11_000_000, 1000).is_ok());
    assert!(range(11_001_000, 1000).unwrap_err().to_string().contains("11,000 points"));
    assert!(range(-1, 1000).unwrap_err().to_string().contains("end timestamp"));
    assert!(range(1, 0).unwrap_err().to_string().contains("zero or negative"));
    assert!(range(i64::MAX, i64::MAX).unwrap_err().to_string().contains("too far"));
    for time_ms in [i64::MIN, i64::MAX] {
        let query = "rate(calls_total[999y] offset 999y) + sum_over_time(calls_total[999y:100y] @ 1e18)";
        assert!(instant(query, time_ms, &Options::default()).is_ok());
    }
}

#[test]
fn names_what_it_does_not_support_and_where() {
    let check = |query: &str, expected: &str| {
        let error = instant(query, 0, &Options::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        "1 + histogram_count(calls_total)",
        "the function `histogram_count` is not supported (character 5 of the query)",
    );
    check("limitk(1, calls_total)", "the aggregation `limitk` is not supported (character 1 of the query)");
    check("calls_total{a=\"b\" or c=\"d\"}", "`or` between matchers is not supported");
    assert!(instant("nosuch(calls_total)", 0, &Options::default()).unwrap_err().to_string().contains("nosuch"));
}

#[test]
fn hostile_queries_end_in_errors() {
    let nested = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
    for query in [
        nested("(", ")", 30_000),
        nested("abs(", ")", 10_000),
        format!("{}1", "-".repeat(60_000)),
        "1+".repeat(30_000) + "1",
        "a or ".repeat(10_000) + "a",
        format!("#'\n{}", nested("(", ")", 30_000)),
        format!("`{}", nested("(", ")", 30_000)),
        "a".repeat(100_000),
        "a[1e400]".to_owned(),
        "a[5m:NaN]".to_owned(),
        "a offset 1e30".to_owned(),
        "a offset - inf".to_owned(),
        "a offset # 'comment'\n 1e30".to_owned(),
        "a[99999999999999999999y]".to_owned(),
        "a offset 99999999999y".to_owned(),
        "a @ 1e30".to_owned(),
        "a{b=~\"(((((((((((((((((((((x{1000}){1000}){1000}){1000})\"}".to_owned(),
    ] {
        let short: String = query.chars().take(40).collect();
        if let Ok(query) = Query::parse(&query) {
            let _ = query.instant(&calls(), 300_000, &Options::default());
            println!("{short} was evaluated");
        }
    }
}

#[test]
fn reads_selectors_and_nothing_else() {
    assert_eq!(parse_selector("up{job=\"a\"}").unwrap().len(), 2);
    for wrong in ["up + 1", "up[5m]", "up offset 1m", "{}", "", "1", "sum(up)"] {
        assert!(parse_selector(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn labels_are_sorted_and_empty_ones_are_none() {
    let labels: Labels = [("b", "2"), ("a", "1"), ("c", ""), ("a", "3")].into_iter().collect();
    assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    assert_eq!(labels.get("c"), "");
}

const TOKENS: &str = r#"
calls_total {source="web"} {source=~".*"} [5m] [5m:1m] [1m:] ( ) , sum rate irate avg_over_time histogram_quantile topk quantile by without on
ignoring group_left group_right bool offset 5m -5m 1e30 @ start() end() + - * / % ^ == > and or unless 0 1 0.5 -1 NaN Inf "le" 'x' label_replace
time() vector(1) (source)
"#;

proptest! {
    #[test]
    fn no_text_makes_it_panic(query in "\\PC{0,60}") {
        let _ = instant(&query, 300_000, &Options::default());
    }

    #[test]
    fn no_tokens_make_it_panic(tokens in prop::collection::vec(prop::sample::select(TOKENS.split_whitespace().collect::<Vec<_>>()), 0..14)) {
        let query = tokens.join(" ");
        if let Ok(query) = Query::parse(&query) {
            let range = Range { start_ms: 0, end_ms: 700_000, step_ms: 50_000 };
            let _ = query.range(&calls(), range, &Options::default());
            let _ = query.instant(&calls(), 300_000, &Options::default());
        }
    }
}

/// Queries move to the threads where they are evaluated.
const _: () = {
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Query>();
    is_shared::<Answer>();
    is_shared::<Error>();
    is_shared::<Selection>();
};
