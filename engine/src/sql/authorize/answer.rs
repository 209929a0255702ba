//! The columns that are added to a request.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use tollgate_policies::tools::Judgement;

use crate::columns;

/// What a set says of a request, as it is shown.
#[derive(Debug, Default)]
pub(super) struct Answer {
    decide: Option<String>,
    reason: Option<String>,
    policies: Vec<Arc<str>>,
    shadow: Vec<Arc<str>>,
    limits: Vec<Arc<str>>,
    unsure: Vec<String>,
    error: Option<String>,
}

impl Answer {
    pub(super) fn of(judgement: Result<Judgement, String>) -> Self {
        let judgement = match judgement {
            Ok(judgement) => judgement,
            Err(error) => return Self { error: Some(error), ..Self::default() },
        };
        let failed: Vec<_> = judgement.failed.iter().map(|(id, error)| format!("{id}: {error}")).collect();
        let error = (!failed.is_empty()).then(|| failed.join("; "));
        let unsure = judgement.unsure_limits.iter().map(|id| format!("whether `{id}` applies"));
        let unsure = judgement.unsure.iter().cloned().chain(unsure).collect();
        if !judgement.unsure.is_empty() {
            return Self { unsure, error, ..Self::default() };
        }
        Self {
            decide: Some(judgement.decision.to_string()),
            reason: Some(judgement.reason.to_string()),
            policies: judgement.policies,
            shadow: judgement.shadow,
            limits: judgement.limits,
            unsure,
            error,
        }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let ids = self.policies.len() + self.shadow.len() + self.limits.len();
        let texts = self.unsure.iter().chain(&self.error).map(|text| text.len() + size_of::<String>());
        size_of::<Self>() + ids * size_of::<Arc<str>>() + texts.sum::<usize>() + 32
    }
}

type Type = fn() -> DataType;
/// Makes a column of answers.
type Make = fn(&[Arc<Answer>]) -> ArrayRef;

/// Name, type and values of each column.
const COLUMNS: [(&str, Type, Make); 7] = [
    ("would_decide", text, |all| columns::texts(all.iter().map(|answer| answer.decide.as_deref()))),
    ("would_reason", text, |all| columns::texts(all.iter().map(|answer| answer.reason.as_deref()))),
    ("would_policies", columns::texts_type, |all| columns::lists(all.iter().map(|answer| answer.policies.as_slice()))),
    ("would_shadow", columns::texts_type, |all| columns::lists(all.iter().map(|answer| answer.shadow.as_slice()))),
    ("would_limits", columns::texts_type, |all| columns::lists(all.iter().map(|answer| answer.limits.as_slice()))),
    ("would_unsure", columns::texts_type, |all| columns::lists(all.iter().map(|answer| answer.unsure.as_slice()))),
    ("would_error", text, |all| columns::texts(all.iter().map(|answer| answer.error.as_deref()))),
];

fn text() -> DataType {
    DataType::Utf8
}

pub(super) fn fields() -> impl Iterator<Item = FieldRef> {
    COLUMNS.into_iter().map(|(name, data_type, _)| Arc::new(Field::new(name, data_type(), true)))
}

/// The column of this name; `None` for one of the request itself.
pub(super) fn column(name: &str, answers: &[Arc<Answer>]) -> Option<ArrayRef> {
    let (.., make) = COLUMNS.iter().find(|(known, ..)| *known == name)?;
    Some(make(answers))
}
