//! Plans signal files against the real schema, when the policy directory is loaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Schema};
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::logical_expr::LogicalPlan;
use tollgate_policies::{Diagnostic, SignalType, SourceFile};

use super::{SignalFile, header};
use crate::sql::QueryError;

/// Plans all files. Returns those that are right, and everything that is wrong with the others.
pub(crate) async fn plan_all(
    context: &SessionContext,
    files: &[SourceFile],
    default_every: Duration,
) -> (Vec<Arc<SignalFile>>, Vec<Diagnostic>) {
    let mut planned: Vec<Arc<SignalFile>> = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match plan(context, file, default_every).await {
            Ok(signal_file) => planned.push(Arc::new(signal_file)),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(duplicates(&planned));
    (planned, problems)
}

async fn plan(
    context: &SessionContext,
    file: &SourceFile,
    default_every: Duration,
) -> Result<SignalFile, Vec<Diagnostic>> {
    let header = header::read(&file.path, &file.text, default_every);
    let plan = plan_sql(context, &file.text).await.map_err(|error| vec![wrong_sql(&file.path, error)]);
    let (header, plan) = match (header, plan) {
        (Ok(header), Ok(plan)) => (header, plan),
        (header, plan) => return Err(header.err().into_iter().chain(plan.err()).flatten().collect()),
    };
    let signals = columns(&file.path, &file.text, plan.schema().as_arrow())?;
    Ok(SignalFile { path: file.path.clone(), entity_type: header.entity_type, every: header.every, signals, plan })
}

async fn plan_sql(context: &SessionContext, sql: &str) -> Result<LogicalPlan, QueryError> {
    let state = context.state();
    let plan = state.create_logical_plan(sql).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    // Types are checked only here; what is run later is planned anew, so that `now()` is the time of the run.
    state.create_physical_plan(&plan).await?;
    Ok(plan)
}

fn wrong_sql(path: &str, error: QueryError) -> Diagnostic {
    let problem = Diagnostic::error("TG0510", path, error.message);
    let problem = match error.position {
        Some(place) => problem.at(place),
        None => problem,
    };
    match error.help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Names and types of the signals: every column but the first, which names the entity.
fn columns(path: &str, text: &str, schema: &Schema) -> Result<Vec<(Arc<str>, SignalType)>, Vec<Diagnostic>> {
    let (first_line, _) = query_start(text);
    let error = |code, message: String| Diagnostic::error(code, path, message).at((first_line, 1));
    let mut problems = Vec::new();
    let mut signals: Vec<(Arc<str>, SignalType)> = Vec::new();
    let mut fields = schema.fields().iter();
    match fields.next() {
        Some(entity) if is_text(entity.data_type()) => {}
        Some(entity) => problems.push(error(
            "TG0511",
            format!(
                "the first column, `{}`, is {}: it has to name the entity in text",
                entity.name(),
                entity.data_type()
            ),
        )),
        None => problems.push(error("TG0511", "the query has no columns".to_owned())),
    }
    for field in fields {
        let name = field.name();
        if !is_identifier(name) {
            let problem = error("TG0512", format!("`{name}` is no name for a signal"));
            problems.push(problem.help("name the column with `AS`, in lower-case letters, digits and `_`"));
            continue;
        }
        match signal_type(field.data_type()) {
            Some(signal_type) => signals.push((name.as_str().into(), signal_type)),
            None => {
                let problem = error(
                    "TG0513",
                    format!("the signal `{name}` is {}: signals are integers or texts", field.data_type()),
                );
                problems.push(problem.help(format!("write `CAST(... AS BIGINT) AS {name}`")));
            }
        }
    }
    if signals.is_empty() && problems.is_empty() {
        problems.push(error("TG0511", "the query computes no signal: it has one column only".to_owned()));
    }
    if problems.is_empty() { Ok(signals) } else { Err(problems) }
}

/// A signal of one entity type is computed in one file.
fn duplicates(files: &[Arc<SignalFile>]) -> Vec<Diagnostic> {
    let mut owners: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files {
        for (name, _) in &file.signals {
            if let Some(owner) = owners.insert((&file.entity_type, name), &file.path) {
                let message = format!("the signal `{name}` of `{}` is computed in `{owner}` too", file.entity_type);
                problems.push(Diagnostic::error("TG0514", &file.path, message).help("name one of them otherwise"));
            }
        }
    }
    problems
}

/// Line and text of where the query begins.
fn query_start(text: &str) -> (usize, &str) {
    let is_query = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("--");
    let found = text.lines().enumerate().find(|(_, line)| is_query(line));
    found.map_or((1, ""), |(index, line)| (index + 1, line))
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn signal_type(data_type: &DataType) -> Option<SignalType> {
    if data_type.is_integer() {
        return Some(SignalType::Integer);
    }
    is_text(data_type).then_some(SignalType::Text)
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}
