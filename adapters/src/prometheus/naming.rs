//! Labels of a series from the columns of the rollups, in Istio's words and in ours.

use tollgate_promql::{Labels, METRIC_NAME, MatchOp, Matcher};

/// A column of the rollups that names something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    Direction,
    Source,
    Destination,
    Route,
    Method,
    StatusClass,
    Status,
    Decision,
    Mtls,
}

impl Column {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direction => "direction",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Route => "route",
            Self::Method => "method",
            Self::StatusClass => "status_class",
            Self::Status => "status",
            Self::Decision => "decision",
            Self::Mtls => "is_mtls",
        }
    }

    /// Text of an expression over the rollups. Where only the class of a status is known, that stands for it.
    pub(super) const fn of_rollups(self) -> &'static str {
        match self {
            Self::Status => "coalesce(CAST(status AS VARCHAR), CAST(status_class AS VARCHAR))",
            Self::Mtls => "CAST(is_mtls AS VARCHAR)",
            other => other.name(),
        }
    }

    /// The same over raw rows, which have a status and no class.
    pub(super) const fn of_raw_rows(self) -> &'static str {
        match self {
            Self::StatusClass => {
                "CASE WHEN status BETWEEN 100 AND 599 THEN concat(CAST(status / 100 AS VARCHAR), 'xx') END"
            }
            Self::Status => "CASE WHEN status BETWEEN 100 AND 599 THEN CAST(status AS VARCHAR) END",
            Self::Mtls => "CAST(is_mtls AS VARCHAR)",
            other => other.name(),
        }
    }
}

/// Whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `source_workload`, `destination_service`, `response_code` ...
    Istio,
    /// The words of the vocabulary.
    Own,
}

/// Callers without a name.
const ANONYMOUS: &str = "anonymous";
const UNKNOWN: &str = "unknown";

/// A label: its name, the column that it follows from, and how.
type Rule = (&'static str, Column, fn(&str) -> String);

static ISTIO: &[Rule] = &[
    ("reporter", Column::Direction, |direction| if direction == "outbound" { "source" } else { "destination" }.into()),
    ("source_workload", Column::Source, |service| name(service).into()),
    ("source_workload_namespace", Column::Source, |service| namespace(service).into()),
    ("source_app", Column::Source, |service| name(service).into()),
    ("source_canonical_service", Column::Source, |service| name(service).into()),
    ("destination_workload", Column::Destination, |service| name(service).into()),
    ("destination_workload_namespace", Column::Destination, |service| namespace(service).into()),
    ("destination_app", Column::Destination, |service| name(service).into()),
    ("destination_canonical_service", Column::Destination, |service| name(service).into()),
    ("destination_service", Column::Destination, |service| {
        format!("{}.{}.svc.cluster.local", name(service), namespace(service))
    }),
    ("destination_service_name", Column::Destination, |service| name(service).into()),
    ("destination_service_namespace", Column::Destination, |service| namespace(service).into()),
    ("response_code", Column::Status, |status| if status.is_empty() { "0" } else { status }.into()),
    ("connection_security_policy", Column::Mtls, |mtls| {
        match mtls {
            "true" => "mutual_tls",
            "false" => "none",
            _ => UNKNOWN,
        }
        .into()
    }),
    ("request_protocol", Column::Method, |_| "http".into()),
];

static OWN: &[Rule] = &[
    ("direction", Column::Direction, str::to_owned),
    ("source", Column::Source, |source| if source.is_empty() { ANONYMOUS } else { source }.into()),
    ("destination", Column::Destination, str::to_owned),
    ("route", Column::Route, str::to_owned),
    ("method", Column::Method, str::to_owned),
    ("status_class", Column::StatusClass, str::to_owned),
    ("decision", Column::Decision, str::to_owned),
];

impl Naming {
    fn rules(self) -> &'static [Rule] {
        match self {
            Self::Istio => ISTIO,
            Self::Own => OWN,
        }
    }

    /// Whether series have a label of this name.
    pub(crate) fn has(self, label: &str) -> bool {
        self.rules().iter().any(|rule| rule.0 == label)
    }

    /// The columns that these labels follow from, in their order; all of them where no labels are named.
    pub(super) fn columns<'a>(self, labels: Option<impl Iterator<Item = &'a str> + Clone>) -> Vec<Column> {
        let is_wanted = |rule: &&Rule| labels.as_ref().is_none_or(|labels| labels.clone().any(|label| label == rule.0));
        let mut columns: Vec<_> = self.rules().iter().filter(is_wanted).map(|rule| rule.1).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Labels of a series called `metric`, from the values of these columns; those that follow from others are left out.
    pub(super) fn labels(self, metric: &str, columns: &[Column], values: &[&str]) -> Labels {
        let value = |column| columns.iter().position(|known| *known == column).and_then(|at| values.get(at).copied());
        let label = |(name, column, of): &Rule| Some((*name, of(value(*column)?)));
        let mut labels: Labels = self.rules().iter().filter_map(label).collect();
        labels.set(METRIC_NAME, metric);
        labels
    }

    /// What of a matcher SQL can check beforehand: text of a condition on the columns.
    pub(super) fn condition(self, matcher: &Matcher, text: fn(Column) -> &'static str) -> Option<String> {
        if self != Self::Own || matcher.op != MatchOp::Equal || matcher.value.is_empty() {
            return None;
        }
        let (_, column, _) = self.rules().iter().find(|rule| rule.0 == matcher.name)?;
        if *column == Column::Source && matcher.value == ANONYMOUS {
            return None;
        }
        Some(format!("{} = '{}'", text(*column), matcher.value.replace('\'', "''")))
    }
}

fn name(service: &str) -> &str {
    match service.rsplit_once('/') {
        Some((_, name)) => name,
        None if service.is_empty() => UNKNOWN,
        None => service,
    }
}

fn namespace(service: &str) -> &str {
    service.rsplit_once('/').map_or(UNKNOWN, |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istio_s_labels_follow_from_two_names() {
        let columns = Naming::Istio.columns(Some(["destination_service", "reporter", "le"].into_iter()));
        assert_eq!(columns, [Column::Direction, Column::Destination]);
        let labels = Naming::Istio.labels("istio_requests_total", &columns, &["inbound", "shop/catalog"]);
        assert_eq!(labels.get("destination_service"), "catalog.shop.svc.cluster.local");
        assert_eq!(labels.get("destination_workload_namespace"), "shop");
        assert_eq!(labels.get("reporter"), "destination");
        assert_eq!(labels.get("source_workload"), "");
        let everything = Naming::Istio.columns(None::<std::iter::Empty<&str>>);
        let labels = Naming::Istio.labels("m", &everything, &["outbound", "", "plain", "GET", "", "true"]);
        assert_eq!((labels.get("source_workload"), labels.get("response_code")), ("unknown", "0"));
        assert_eq!(labels.get("connection_security_policy"), "mutual_tls");
        assert_eq!((labels.get("destination_workload"), labels.get("reporter")), ("plain", "source"));
    }

    #[test]
    fn equality_is_checked_in_sql_and_cannot_leave_its_quotes() {
        let matcher = |name: &str, value: &str| Matcher::new(MatchOp::Equal, name, value);
        let condition = |matcher: &Matcher| Naming::Own.condition(matcher, Column::name);
        assert_eq!(condition(&matcher("destination", "a' OR 1=1")).unwrap(), "destination = 'a'' OR 1=1'");
        assert_eq!(condition(&matcher("source", "anonymous")), None);
        assert_eq!(condition(&matcher("le", "5")), None);
    }
}
