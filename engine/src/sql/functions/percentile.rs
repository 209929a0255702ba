//! `p(duration_us, 99)`: a percentile, and `p(duration_us, 99, weight)`, where rows stand for several requests.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::functions_aggregate::approx_percentile_cont_with_weight::approx_percentile_cont_with_weight_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, TypeSignature, Volatility, lit,
};

use super::arguments::wrong;

pub(super) fn function() -> AggregateUDF {
    let numbers = |count| TypeSignature::Exact(vec![DataType::Float64; count]);
    AggregateUDF::from(Percentile { signature: Signature::one_of(vec![numbers(2), numbers(3)], Volatility::Immutable) })
}

/// Becomes `approx_percentile_cont`, which wants a share from 0 to 1.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    signature: Signature,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        "p"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Err(wrong("p takes a column and a constant percentile: p(duration_us, 99)"))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        Some(Box::new(|function, _| {
            let AggregateFunctionParams { mut args, distinct, filter, order_by, null_treatment } = function.params;
            let share = args
                .get(1)
                .and_then(share)
                .ok_or_else(|| wrong("p takes a column and a constant percentile from 0 to 100: p(duration_us, 99)"))?;
            let function = match args.len() {
                2 => {
                    args[1] = lit(share);
                    approx_percentile_cont_udaf()
                }
                _ => {
                    args.swap(1, 2);
                    args[2] = lit(share);
                    approx_percentile_cont_with_weight_udaf()
                }
            };
            let function = AggregateFunction::new_udf(function, args, distinct, filter, order_by, null_treatment);
            Ok(Expr::AggregateFunction(function))
        }))
    }
}

fn share(percentile: &Expr) -> Option<f64> {
    match percentile {
        Expr::Literal(ScalarValue::Float64(Some(percent)), _) if (0.0..=100.0).contains(percent) => {
            Some(percent / 100.0)
        }
        _ => None,
    }
}
