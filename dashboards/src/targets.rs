//! Every query of the dashboards and alert rules, for whoever wants to run them all.

use crate::macros::{self, MacroError, Span};
use crate::model::{Format, Language, POLICY_CHANGES, VariableKind};
use crate::provisioning::SCRAPE_MS;
use crate::{alerts, boards};

/// One query, with Grafana's macros and variables still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it stands.
    pub place: Place,
    /// What it is written in.
    pub language: Language,
    /// The query.
    pub text: String,
    /// The shape that its answer has to have.
    pub format: Format,
}

/// Where a query stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a panel.
    Panel {
        /// The dashboard.
        dashboard: &'static str,
        /// Title of the panel.
        panel: &'static str,
        /// Id of the query.
        query: String,
    },
    /// Behind a variable.
    Variable {
        /// The dashboard.
        dashboard: &'static str,
        /// Name of the variable.
        variable: &'static str,
    },
    /// In an alert rule.
    Alert(&'static str),
    /// On every dashboard.
    Annotation,
}

impl Target {
    /// The query as Grafana would send it.
    ///
    /// # Errors
    /// If Grafana would refuse a macro.
    pub fn sent(&self, variables: &[(&str, &str)], span: Span) -> Result<String, MacroError> {
        let filled = macros::fill(&self.text, variables);
        match self.language {
            Language::Sql => macros::sql(&filled, span),
            Language::PromQl | Language::EngineMetrics => Ok(macros::promql(&filled, span, SCRAPE_MS)),
        }
    }
}

/// All of them. Data source variables hold no queries.
#[must_use]
pub fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for board in boards() {
        let dashboard = board.uid;
        for variable in &board.variables {
            if let VariableKind::Sql(text) = &variable.kind {
                let place = Place::Variable { dashboard, variable: variable.name };
                targets.push(Target { place, language: Language::Sql, text: text.clone(), format: Format::Table });
            }
        }
        for panel in board.sections.into_iter().flat_map(|(_, panels)| panels) {
            targets.extend(panel.queries.into_iter().map(|query| Target {
                place: Place::Panel { dashboard, panel: panel.title, query: query.id },
                language: query.language,
                text: query.text,
                format: query.format,
            }));
        }
    }
    let alert = |rule: &alerts::Rule| Target {
        place: Place::Alert(rule.uid),
        language: rule.language,
        text: rule.query.to_owned(),
        format: if rule.language == Language::Sql { Format::Table } else { Format::TimeSeries },
    };
    targets.extend(alerts::RULES.iter().map(alert));
    let (text, format) = (POLICY_CHANGES.to_owned(), Format::Table);
    targets.push(Target { place: Place::Annotation, language: Language::Sql, text, format });
    targets
}
