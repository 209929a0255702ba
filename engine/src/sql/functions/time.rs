//! `time_bucket` and `rate`.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::arguments::{interval_ns, wrong};

pub(super) fn functions() -> Vec<ScalarUDF> {
    let signature = || Signature::any(2, Volatility::Immutable);
    vec![
        ScalarUDF::from(TimeBucket { signature: signature() }).with_aliases(["bucket"]),
        ScalarUDF::from(Rate { signature: signature() }),
    ]
}

/// `time_bucket('5m', time)`: the start of the interval that a time is in, counted from the epoch.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.get(1) {
            Some(time @ DataType::Timestamp(..)) => Ok(time.clone()),
            _ => Err(wrong("time_bucket takes an interval and a time: time_bucket('5m', time)")),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [interval, _] = args.args.as_mut_slice() else { return Err(wrong("time_bucket takes two arguments")) };
        let ns = interval_ns("time_bucket", interval)?;
        let value = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, ns)));
        *interval = ColumnarValue::Scalar(value);
        if let Some(field) = args.arg_fields.first_mut() {
            *field = Arc::new(Field::new("interval", DataType::Interval(IntervalUnit::MonthDayNano), true));
        }
        date_bin().invoke_with_args(args)
    }
}

/// `rate(sum(requests), '1m')`: how many a second.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Rate {
    signature: Signature,
}

impl ScalarUDFImpl for Rate {
    fn name(&self) -> &str {
        "rate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(count) if count.is_numeric() || count.is_null() => Ok(DataType::Float64),
            _ => Err(wrong("rate takes a number and the interval that it was counted in: rate(count(*), '1m')")),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [count, interval] = args.args.as_slice() else { return Err(wrong("rate takes two arguments")) };
        let seconds = interval_ns("rate", interval)? as f64 / 1e9;
        match count {
            ColumnarValue::Scalar(count) => {
                let count = count.cast_to(&DataType::Float64)?;
                let ScalarValue::Float64(count) = count else { return Err(wrong("rate takes a number")) };
                Ok(ColumnarValue::Scalar(ScalarValue::Float64(count.map(|count| count / seconds))))
            }
            ColumnarValue::Array(counts) => {
                let counts = cast(counts, &DataType::Float64)?;
                let rates = counts.as_primitive::<Float64Type>().unary::<_, Float64Type>(|count| count / seconds);
                Ok(ColumnarValue::Array(Arc::new(rates)))
            }
        }
    }
}
