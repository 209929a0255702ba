//! Reads the constant arguments of functions.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use tollgate_config::DurationText;

use crate::sql::QueryError;
use crate::sql::error::QueryErrorKind;

/// An error in the words of whoever writes queries.
pub(super) fn wrong(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::new(QueryErrorKind::Plan, message)))
}

/// Nanoseconds of a constant interval: `'5m'`, or `INTERVAL '5 minutes'`.
pub(super) fn interval_ns(function: &str, argument: &ColumnarValue) -> Result<i64> {
    let constant = |value: &ScalarValue| -> Result<Option<i64>> {
        match value {
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
                let duration: DurationText = text.parse().map_err(|error| wrong(format!("{function}: {error}")))?;
                Ok(i64::try_from(duration.0.as_nanos()).ok())
            }
            ScalarValue::IntervalDayTime(Some(interval)) => {
                let days_ms = i64::from(interval.days).checked_mul(24 * 60 * 60 * 1_000);
                Ok(days_ms.and_then(|ms| ms.checked_add(interval.milliseconds.into())?.checked_mul(1_000_000)))
            }
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months: 0, days, nanoseconds })) => {
                let days_ns = i64::from(*days).checked_mul(24 * 60 * 60 * 1_000_000_000);
                Ok(days_ns.and_then(|ns| ns.checked_add(*nanoseconds)))
            }
            _ => Ok(None),
        }
    };
    let interval = match argument {
        ColumnarValue::Scalar(value) => constant(value)?,
        ColumnarValue::Array(_) => None,
    };
    interval.filter(|ns| *ns > 0).ok_or_else(|| {
        wrong(format!("{function} takes a constant interval of at most days, such as '5m' or INTERVAL '5 minutes'"))
    })
}
