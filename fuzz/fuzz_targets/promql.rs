//! PromQL: every text is a query or an error, and every query answers or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_promql::{Options, Query, Selection, Series, Source, SourceError};

struct Nothing;

impl Source for Nothing {
    fn select(&self, _: &Selection) -> Result<Vec<Series>, SourceError> {
        Ok(Vec::new())
    }
}

fuzz_target!(|text: &str| {
    if let Ok(query) = Query::parse(text) {
        let options = Options { samples_max: 100_000, ..Options::default() };
        let _ = query.instant(&Nothing, 1_700_000_000_000, &options);
    }
});
