//! Reads a file of tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::diagnostics::Diagnostic;
use crate::sources::SourceFile;

/// A file of tests, `tests/*.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// What holds of every case that does not say otherwise.
    #[serde(default)]
    pub(super) context: Map<String, Value>,
    /// Signals that hold in every case that does not say otherwise.
    #[serde(default)]
    pub(super) signals: BTreeMap<String, Map<String, Value>>,
    cases: Vec<Spanned<RawCase>>,
    #[serde(skip)]
    read: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    principal: OneOrMany,
    action: OneOrMany,
    resource: OneOrMany,
    #[serde(default)]
    context: Map<String, Value>,
    signals: Option<BTreeMap<String, Map<String, Value>>>,
    expect: String,
    reason: Option<String>,
    policies: Option<Vec<String>>,
    shadow: Option<Vec<String>>,
    limits: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// One case: requests that are all to be decided alike.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) principals: Vec<String>,
    pub(super) actions: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) context: Map<String, Value>,
    pub(super) signals: Option<BTreeMap<String, Map<String, Value>>>,
    pub(super) expect: String,
    pub(super) reason: Option<String>,
    pub(super) policies: Option<Vec<String>>,
    pub(super) shadow: Option<Vec<String>>,
    pub(super) limits: Option<Vec<String>>,
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing that cannot be read, with its place.
    pub fn read(file: &SourceFile) -> Result<Self, Diagnostic> {
        let mut read: Self = serde_saphyr::from_str(&file.text).map_err(|error| {
            let place = error.location().map_or((1, 1), |location| {
                let number = |number: u64| usize::try_from(number).unwrap_or(1);
                (number(location.line()), number(location.column()))
            });
            Diagnostic::error("TG0701", &file.path, message(&error)).at(place)
        })?;
        let cases = std::mem::take(&mut read.cases);
        read.read = cases.into_iter().enumerate().map(|(index, raw)| case(index, raw)).collect();
        for case in &read.read {
            let wrong = |message: String| Diagnostic::error("TG0702", &file.path, message).at((case.line, 1));
            match case.expect.as_str() {
                "allow" | "deny" => {}
                "limit" | "shed" => {
                    let message = format!("`expect: {}` depends on how many tokens are left", case.expect);
                    return Err(wrong(message).help("write `expect: allow`, and the policies that apply as `limits`"));
                }
                other => return Err(wrong(format!("`expect: {other}`: write allow or deny"))),
            }
        }
        Ok(read)
    }

    pub(super) fn cases(&self) -> &[Case] {
        &self.read
    }
}

fn case(index: usize, raw: Spanned<RawCase>) -> Case {
    let line = usize::try_from(raw.referenced.line()).unwrap_or(1);
    let raw = raw.value;
    Case {
        line,
        name: raw.name.unwrap_or_else(|| format!("case {}", index + 1)),
        principals: raw.principal.into_vec(),
        actions: raw.action.into_vec(),
        resources: raw.resource.into_vec(),
        context: raw.context,
        signals: raw.signals,
        expect: raw.expect,
        reason: raw.reason,
        policies: raw.policies,
        shadow: raw.shadow,
        limits: raw.limits,
    }
}

/// The error's own words on one line, without the picture of the source and without the position, which is given apart.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.split(" at line ").next().unwrap_or(first);
    message.strip_prefix("error: ").unwrap_or(message).to_owned()
}
