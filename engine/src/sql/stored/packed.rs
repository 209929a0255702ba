//! Reads lists of integers, which files hold packed.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use tollgate_store::{is_packed, unpack};

use crate::sql::functions::packed::packed_by;

/// Makes expressions over a table's columns ones over a file's: packed lists are unpacked, all else is as DataFusion does it.
#[derive(Debug)]
pub(super) struct Unpacking;

impl PhysicalExprAdapterFactory for Unpacking {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let in_file = |field: &FieldRef| {
            let in_file = file.field_with_name(field.name()).ok()?;
            is_packed(field.data_type(), in_file.data_type()).then(|| Arc::new(in_file.clone()))
        };
        let packed: Vec<FieldRef> =
            table.fields().iter().filter(|field| in_file(field).is_some()).map(Arc::clone).collect();
        // DataFusion is told that the table has those columns as the file does, so that it leaves them alone.
        let fields = table.fields().iter().map(|field| in_file(field).unwrap_or_else(|| Arc::clone(field)));
        let table = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), table.metadata().clone()));
        let others = DefaultPhysicalExprAdapterFactory.create(table, file)?;
        Ok(if packed.is_empty() { others } else { Arc::new(Adapter { packed, others }) })
    }
}

#[derive(Debug)]
struct Adapter {
    /// Columns of the table that the file holds packed.
    packed: Vec<FieldRef>,
    others: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let replaced = |expr: Arc<dyn PhysicalExpr>| {
            if let Some(field) = self.field(&expr) {
                return Transformed::new(unpacked(expr, field), true, TreeNodeRecursion::Jump);
            }
            match packed_by(&expr).filter(|counts| self.field(counts).is_some()) {
                Some(counts) => Transformed::new(Arc::clone(counts), true, TreeNodeRecursion::Jump),
                None => Transformed::no(expr),
            }
        };
        self.others.rewrite(expr)?.transform_down(|expr| Ok(replaced(expr))).data()
    }
}

impl Adapter {
    /// The table's column, when the file has it packed.
    fn field(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<&FieldRef> {
        let name = expr.downcast_ref::<Column>()?.name();
        self.packed.iter().find(|field| field.name() == name)
    }
}

/// The list that a column of a file, or of sealed rows in memory, holds.
pub(super) fn unpacked(column: Arc<dyn PhysicalExpr>, field: &FieldRef) -> Arc<dyn PhysicalExpr> {
    let function = Unpack { field: Arc::clone(field), signature: Signature::any(1, Volatility::Immutable) };
    let (name, function) = (function.name().to_owned(), Arc::new(ScalarUDF::from(function)));
    Arc::new(ScalarFunctionExpr::new(&name, function, vec![column], Arc::clone(field), Arc::new(ConfigOptions::new())))
}

/// What an expression unpacks; `None` when it is another one.
pub(in crate::sql) fn unpacked_by(expr: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    call.args().first().filter(|_| call.fun().inner().downcast_ref::<Unpack>().is_some())
}

/// Unpacks one column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unpack {
    field: FieldRef,
    signature: Signature,
}

impl ScalarUDFImpl for Unpack {
    fn name(&self) -> &'static str {
        "unpack"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [packed] = args.args.as_slice() else {
            return Err(DataFusionError::Internal("one column is unpacked at a time".to_owned()));
        };
        let packed = packed.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(unpack(&packed, self.field.data_type())?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch};
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::IsNullExpr;

    use super::*;

    /// A file with one column less and another order than the table.
    #[test]
    fn packed_columns_are_unpacked_and_others_as_ever() {
        let counts = DataType::new_list(DataType::Int64, true);
        let table = Schema::new(vec![
            Field::new("new", DataType::Utf8, true),
            Field::new("zero", DataType::Int64, false),
            Field::new("counts", counts.clone(), true),
        ]);
        let file = Arc::new(Schema::new(vec![
            Field::new("counts", DataType::Binary, true),
            Field::new("zero", DataType::Int32, false),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BinaryArray::from(vec![Some([1, 2].as_slice()), None])),
            Arc::new(Int32Array::from(vec![3, 4])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&file), columns).unwrap();
        let adapter = Unpacking.create(Arc::new(table), Arc::clone(&file)).unwrap();
        let value = |expr: Arc<dyn PhysicalExpr>| {
            let expr = adapter.rewrite(expr).unwrap();
            (expr.data_type(&file).unwrap(), expr.evaluate(&rows).unwrap().into_array(2).unwrap())
        };
        let column = |name, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
        let (data_type, lists) = value(column("counts", 2));
        assert_eq!((data_type, lists.data_type()), (counts.clone(), &counts));
        assert_eq!(format!("{lists:?}"), "ListArray\n[\n  PrimitiveArray<Int64>\n[\n  1,\n  2,\n],\n  null,\n]");
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![3, 4]));
        assert_eq!(value(column("zero", 1)).1.as_ref(), zeros.as_ref());
        assert_eq!(value(column("new", 0)).1.null_count(), 2);
        let (_, is_null) = value(Arc::new(IsNullExpr::new(column("counts", 2))));
        assert_eq!(format!("{is_null:?}"), "BooleanArray\n[\n  false,\n  true,\n]");
    }
}
