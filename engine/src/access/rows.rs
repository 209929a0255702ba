//! Which rows of a table are about services that somebody may read about.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, cast, is_null, or};
use arrow::datatypes::{DataType, Int32Type, Schema};
use arrow::error::ArrowError;

use super::Rights;

/// What decides about a row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowRule {
    /// Nothing: the rows are about no service.
    Open,
    /// One of these columns names a service that may be read about.
    Either(&'static [&'static str]),
    /// The first column is `Service`, and the second one names it.
    Entity(&'static str, &'static str),
    /// A list of services, of which one may be read about.
    Listed(&'static str),
    /// The reporter stands in front of a service that may be read about.
    Reporter(&'static str),
    /// The column names a service that may be read about, or something that is no service.
    Scope(&'static str),
    /// Only who reads about every service sees any: so it is for a table that is not known here.
    EveryService,
}

const ENDS: &[&str] = &["source", "destination"];

impl RowRule {
    /// The rule of a table that has these columns.
    pub(crate) fn of(table: &str, schema: &Schema) -> Self {
        match table {
            "signals" | "entities" => Self::Entity("entity_type", "entity"),
            "reporters" => Self::Listed("services"),
            "leases" | "decisions" => Self::Reporter("reporter"),
            "policies" => Self::Scope("scope"),
            "storage" | "storage_files" | "lists" => Self::Open,
            _ if ENDS.iter().all(|name| schema.field_with_name(name).is_ok()) => Self::Either(ENDS),
            _ => Self::EveryService,
        }
    }

    /// The columns that it reads.
    pub(crate) fn columns(self) -> Vec<&'static str> {
        match self {
            Self::Open | Self::EveryService => Vec::new(),
            Self::Either(names) => names.to_vec(),
            Self::Entity(of_type, entity) => vec![of_type, entity],
            Self::Listed(name) | Self::Reporter(name) | Self::Scope(name) => vec![name],
        }
    }

    /// Which of some rows may be read, by the columns that [`RowRule::columns`] names.
    pub(crate) fn keep(self, rights: &Rights, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray, ArrowError> {
        if rights.every_service() || self == Self::Open {
            return Ok(BooleanArray::new(BooleanBuffer::new_set(rows), None));
        }
        let [first, rest @ ..] = columns else {
            return Ok(BooleanArray::new(BooleanBuffer::new_unset(rows), None));
        };
        let is_readable = |name: &str| rights.service(name);
        match (self, rest) {
            (Self::Either(_), rest) => {
                let mut keep = texts(first, &is_readable)?;
                for column in rest {
                    keep = or(&keep, &texts(column, &is_readable)?)?;
                }
                Ok(keep)
            }
            (Self::Entity(..), [entity]) => {
                and(&texts(first, &|of_type| of_type == "Service")?, &texts(entity, &is_readable)?)
            }
            (Self::Listed(_), _) => listed(first, &is_readable),
            (Self::Reporter(_), _) => {
                let reporters = rights.reporters();
                texts(first, &|name| reporters.contains(name))
            }
            (Self::Scope(_), _) => {
                or(&is_null(first)?, &texts(first, &|scope| !scope.contains('/') || rights.service(scope))?)
            }
            (Self::Open | Self::EveryService | Self::Entity(..), _) => {
                Ok(BooleanArray::new(BooleanBuffer::new_unset(rows), None))
            }
        }
    }
}

/// What holds of one text of each list.
fn listed(column: &ArrayRef, holds: &dyn Fn(&str) -> bool) -> Result<BooleanArray, ArrowError> {
    let lists = column.as_list_opt::<i32>();
    let lists = lists.ok_or_else(|| ArrowError::SchemaError("a list of services was expected".to_owned()))?;
    let any = |list: Option<ArrayRef>| match list {
        Some(list) => Ok::<_, ArrowError>(texts(&list, holds)?.true_count() > 0),
        None => Ok(false),
    };
    Ok(lists.iter().map(any).collect::<Result<Vec<_>, _>>()?.into())
}

/// What holds of each text; nothing holds of one that is absent. Of a dictionary each value is asked once.
fn texts(column: &ArrayRef, holds: &dyn Fn(&str) -> bool) -> Result<BooleanArray, ArrowError> {
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        let values = texts(dictionary.values(), holds)?;
        let holds = |key: Option<i32>| {
            let place = key.and_then(|key| usize::try_from(key).ok()).filter(|place| *place < values.len());
            Some(place.is_some_and(|place| values.value(place)))
        };
        return Ok(dictionary.keys().iter().map(holds).collect());
    }
    let column = match column.data_type() {
        DataType::Utf8 => Arc::clone(column),
        _ => cast(column, &DataType::Utf8)?,
    };
    Ok(column.as_string::<i32>().iter().map(|text| Some(text.is_some_and(holds))).collect())
}
