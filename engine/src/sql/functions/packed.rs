//! `packed(duration_counts)`: counts as sealed files hold them.
//!
//! No query names it. It stands between an aggregate over histograms and their counts, and moves down to where they are read: from
//! a file they then come as they are, and are added without ever becoming lists.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use tollgate_rollups::{Histogram, HistogramAccumulator};
use tollgate_store::{PackedIntegers, pack};

use super::arguments::wrong;
use super::histogram::external;

/// Counts, packed.
pub(in crate::sql) fn packed(counts: Expr) -> Expr {
    ScalarUDF::from(Packed { signature: Signature::any(1, Volatility::Immutable) }).call(vec![counts])
}

/// What an expression packs; `None` when it is another one.
pub(in crate::sql) fn packed_by(expr: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    call.args().first().filter(|_| call.fun().inner().downcast_ref::<Packed>().is_some())
}

/// Adds the rows of columns of histograms whose counts are packed.
pub(super) fn add(
    sums: &mut HistogramAccumulator,
    [offsets, packed, zeros]: [&ArrayRef; 3],
    group_of: impl Fn(usize) -> usize,
) -> Result<()> {
    let offsets = offsets.as_primitive_opt::<Int32Type>();
    let (packed, zeros) = (packed.as_binary_opt::<i32>(), zeros.as_primitive_opt::<Int64Type>());
    let (Some(offsets), Some(packed), Some(zeros)) = (offsets, packed, zeros) else {
        return Err(wrong("a histogram has an offset of `Int32`, packed counts and zeros of `Int64`"));
    };
    for row in 0..packed.len() {
        if offsets.is_valid(row) && packed.is_valid(row) && zeros.is_valid(row) {
            let sum = sums.group(group_of(row));
            sum.add_zeros(zeros.value(row)).map_err(external)?;
            add_counts(sum, offsets.value(row), packed.value(row))?;
        }
    }
    Ok(())
}

fn add_counts(sum: &mut Histogram, offset: i32, packed: &[u8]) -> Result<()> {
    for count in PackedIntegers::new(packed) {
        let (at, count) = count.map_err(ArrowError::from)?;
        // No histogram has so many buckets that this saturates.
        let at = i32::try_from(at).unwrap_or(i32::MAX);
        sum.add(offset.saturating_add(at), count).map_err(external)?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Packed {
    signature: Signature,
}

impl ScalarUDFImpl for Packed {
    fn name(&self) -> &'static str {
        "packed"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [ExpressionPlacement::Column] => ExpressionPlacement::MoveTowardsLeafNodes,
            _ => ExpressionPlacement::KeepInPlace,
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [counts] = args.args.as_slice() else { return Err(wrong("counts are packed one column at a time")) };
        Ok(ColumnarValue::Array(pack(&counts.to_array(args.number_rows)?)?))
    }
}
