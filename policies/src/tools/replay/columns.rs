//! Which columns of `requests` policies read, so that SQL can tell apart exactly what they do.

use std::collections::BTreeSet;

use crate::model;
use crate::shaping::ByKey;
use crate::tools::judge::{Judge, Recorded};

/// What stands before a header's name in the name of its column.
pub(super) const HEADER: &str = "labels.";
/// What every replay needs: who, whom, how, and what was decided.
const ALWAYS: &[&str] = &["source", "destination", "method", "route", "decision", "reason"];

/// What has to be known of requests to replay them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Columns of `requests`.
    pub columns: BTreeSet<&'static str>,
    /// Headers, which are in the column `labels` where they are recorded.
    pub headers: BTreeSet<String>,
    /// Whether a policy reads the time of a request.
    pub time: bool,
}

/// The columns that these policies read. Those of `old` and `new` together replay both.
#[must_use]
pub fn columns(judges: &[&Judge]) -> Columns {
    let mut found = Columns { columns: ALWAYS.iter().copied().collect(), headers: BTreeSet::new(), time: false };
    for rule in judges.iter().flat_map(|judge| &judge.rules) {
        for (name, ..) in model::context().iter().filter(|(name, ..)| rule.reads_context(name)) {
            match *name {
                "headers" | "claims" | model::LISTS => {}
                "time" => found.time = true,
                name => {
                    found.columns.insert(name);
                }
            }
        }
        found.headers.extend(rule.reads.headers.iter().cloned());
        let keys = rule.entry.shaping.iter().flat_map(|shaping| &shaping.by);
        keys.for_each(|key| found.add(key));
    }
    found
}

impl Columns {
    fn add(&mut self, key: &ByKey) {
        let column = match key {
            ByKey::Header(name) => {
                self.headers.insert(name.to_string());
                return;
            }
            ByKey::Principal | ByKey::Resource | ByKey::Method | ByKey::Route => return,
            ByKey::Path => "path",
            ByKey::Host => "host",
            ByKey::Scheme => "scheme",
            ByKey::Protocol => "protocol",
            ByKey::UserAgent => "user_agent",
            ByKey::SourceAddress => "source_address",
            ByKey::User => "user",
        };
        self.columns.insert(column);
    }

    /// What is then known of requests, when rows hold these headers.
    #[must_use]
    pub fn recorded(&self, headers: BTreeSet<String>) -> Recorded {
        Recorded { headers: Some(headers), signals: false, time: self.time, lists: false }
    }

    /// The query for the distinct combinations among the requests of the last `since_s` seconds that `filter`, a condition
    /// in SQL, lets through. With `is_timed` they are told apart by the second too, in order, so that limits can be
    /// simulated; where policies read the time they are so anyway.
    ///
    /// Each request counts once, where it was decided: at the called side.
    #[must_use]
    pub fn query(&self, since_s: u64, filter: Option<&str>, is_timed: bool) -> String {
        let mut columns: Vec<String> = self.columns.iter().map(|name| format!("\"{name}\"")).collect();
        columns.extend(self.headers.iter().map(|name| {
            let text = name.replace('\'', "''");
            format!("labels['{text}'] AS \"{HEADER}{}\"", name.replace('"', "\"\""))
        }));
        if self.time || is_timed {
            // An alias of its own: `time` would be taken for the column.
            columns.push("arrow_cast(date_trunc('second', \"time\"), 'Int64') AS time_us".to_owned());
        }
        let places: Vec<_> = (1..=columns.len()).map(|place| place.to_string()).collect();
        let filter = filter.map(|filter| format!("\n  AND ({filter})")).unwrap_or_default();
        let order = if self.time || is_timed { format!("\nORDER BY {}", columns.len()) } else { String::new() };
        format!(
            "SELECT {},\n  CAST(sum(weight) AS BIGINT) AS requests, min(request_id) AS sample_first, max(request_id) AS sample_last\n\
             FROM requests\nWHERE \"time\" >= now() - INTERVAL '{since_s} seconds'\n  AND direction IN ('inbound', 'gateway')\n  \
             AND destination IS NOT NULL{filter}\nGROUP BY {}{order}",
            columns.join(", "),
            places.join(", ")
        )
    }
}
