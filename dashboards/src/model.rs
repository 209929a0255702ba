//! What a dashboard is made of, before it is JSON.

mod json;

pub(crate) use self::json::POLICY_CHANGES;

/// One dashboard.
#[derive(Debug, Clone)]
pub struct Board {
    /// Id in links.
    pub uid: &'static str,
    /// Name in the folder.
    pub title: &'static str,
    /// One or two sentences: the question that it answers.
    pub description: &'static str,
    /// What can be chosen at the top.
    pub variables: Vec<Variable>,
    /// Panels by section, each with the section's title.
    pub sections: Vec<(&'static str, Vec<Panel>)>,
}

/// Something that can be chosen.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Name in queries.
    pub name: &'static str,
    /// Name for people.
    pub label: &'static str,
    /// Where its values come from.
    pub kind: VariableKind,
}

/// Where a variable's values come from.
#[derive(Debug, Clone)]
pub enum VariableKind {
    /// Data sources of this type.
    DataSource(&'static str),
    /// A query, one value a row.
    Sql(String),
    /// These.
    Choice(&'static [&'static str]),
    /// What a person types; this at first.
    Text(&'static str),
}

/// How a panel shows its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One number.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas that add up.
    Stacked,
    /// Rows.
    Table,
    /// Counts by time and size.
    Heatmap,
    /// Services and calls.
    NodeGraph,
    /// One bar for each row.
    Bars,
}

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// How it shows its data.
    pub kind: Kind,
    /// What it shows.
    pub title: &'static str,
    /// How to read it. The queries are added to it.
    pub description: &'static str,
    /// Grafana's name of the unit of its numbers.
    pub unit: &'static str,
    /// Of 24.
    pub width: u32,
    /// In lines of 30 pixels.
    pub height: u32,
    /// Its data.
    pub queries: Vec<Query>,
    /// Units of single columns.
    pub units: Vec<(&'static str, &'static str)>,
    /// Where a click on a column's value leads: column, title of the link, address.
    pub links: Vec<(&'static str, &'static str, String)>,
}

/// One query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    /// `A`, `B`, ..; for a node graph `nodes` and `edges`.
    pub id: String,
    /// What it is written in.
    pub language: Language,
    /// The query, with Grafana's macros and variables.
    pub text: String,
    /// The shape that the panel wants.
    pub format: Format,
    /// Name of each series, for PromQL.
    pub legend: &'static str,
}

/// What a query is written in, and so which data source answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The engine's SQL.
    Sql,
    /// PromQL over traffic, answered by the engine.
    PromQl,
    /// PromQL over the engine's own metrics.
    EngineMetrics,
}

/// Shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A column `time` that rises, at most one column of text that names the series, and numbers.
    TimeSeries,
    /// Any columns.
    Table,
    /// Buckets by `le`.
    Heatmap,
}

impl Panel {
    pub(crate) fn new(kind: Kind, title: &'static str, unit: &'static str, description: &'static str) -> Self {
        let (width, height) = match kind {
            Kind::Stat => (4, 4),
            Kind::Lines | Kind::Stacked | Kind::Heatmap | Kind::Bars => (12, 8),
            Kind::Table => (24, 9),
            Kind::NodeGraph => (24, 14),
        };
        let (queries, units, links) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, title, description, unit, width, height, queries, units, links }
    }

    pub(crate) fn sql(self, text: impl Into<String>) -> Self {
        let format = match self.kind {
            Kind::Lines | Kind::Stacked => Format::TimeSeries,
            _ => Format::Table,
        };
        self.query(None, Language::Sql, text, format, "")
    }

    /// SQL with a name that the panel looks for.
    pub(crate) fn named_sql(self, id: &str, text: impl Into<String>) -> Self {
        self.query(Some(id), Language::Sql, text, Format::Table, "")
    }

    pub(crate) fn promql(self, text: impl Into<String>, legend: &'static str) -> Self {
        let format = if self.kind == Kind::Heatmap { Format::Heatmap } else { Format::TimeSeries };
        self.query(None, Language::PromQl, text, format, legend)
    }

    pub(crate) fn engine(self, text: impl Into<String>, legend: &'static str) -> Self {
        self.query(None, Language::EngineMetrics, text, Format::TimeSeries, legend)
    }

    pub(crate) const fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    pub(crate) fn unit(mut self, column: &'static str, unit: &'static str) -> Self {
        self.units.push((column, unit));
        self
    }

    pub(crate) fn link(mut self, column: &'static str, title: &'static str, address: impl Into<String>) -> Self {
        self.links.push((column, title, address.into()));
        self
    }

    fn query(
        mut self,
        id: Option<&str>,
        language: Language,
        text: impl Into<String>,
        format: Format,
        legend: &'static str,
    ) -> Self {
        let next = || char::from(b'A' + self.queries.len().min(25) as u8).to_string();
        let id = id.map_or_else(next, str::to_owned);
        self.queries.push(Query { id, language, text: text.into(), format, legend });
        self
    }
}

impl Language {
    /// Name of the variable that chooses the data source.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::PromQl => "traffic_metrics",
            Self::EngineMetrics => "engine_metrics",
        }
    }

    /// Grafana's name of the data source's type.
    pub(crate) const fn plugin(self) -> &'static str {
        match self {
            Self::Sql => "grafana-postgresql-datasource",
            Self::PromQl | Self::EngineMetrics => "prometheus",
        }
    }
}
