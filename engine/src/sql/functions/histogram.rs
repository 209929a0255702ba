//! `histogram_quantile(0.99, duration_offset, duration_counts, duration_zero)`: a quantile in microseconds over the sum of
//! histograms, as the tables `traffic` have them.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, Float64Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, TypeSignature, Volatility,
};
use datafusion::physical_plan::expressions::Literal;
use tollgate_rollups::{HistogramAccumulator, HistogramArrays, HistogramColumns, HistogramView};

use super::arguments::wrong;
use super::groups::{Groups, Single};

pub(super) fn function() -> AggregateUDF {
    let types = vec![DataType::Float64, DataType::Int32, counts_type(), DataType::Int64];
    let signature = Signature::one_of(vec![TypeSignature::Exact(types)], Volatility::Immutable);
    AggregateUDF::from(HistogramQuantile { signature })
}

fn counts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HistogramQuantile {
    signature: Signature,
}

impl AggregateUDFImpl for HistogramQuantile {
    fn name(&self) -> &str {
        "histogram_quantile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part, data_type| Arc::new(Field::new(format_state_name(args.name, part), data_type, true));
        Ok(vec![field("offset", DataType::Int32), field("counts", counts_type()), field("zero", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(Quantiles::new(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Quantiles::new(&args)?))
    }
}

/// The sums of histograms by group, and which quantile of them is asked for.
#[derive(Debug)]
struct Quantiles {
    quantile: f64,
    sums: HistogramAccumulator,
    groups: usize,
}

impl Quantiles {
    fn new(args: &AccumulatorArgs<'_>) -> Result<Self> {
        let literal = args.exprs.first().and_then(|quantile| quantile.downcast_ref::<Literal>());
        match literal.map(Literal::value) {
            Some(ScalarValue::Float64(Some(quantile))) if (0.0..=1.0).contains(quantile) => {
                Ok(Self { quantile: *quantile, sums: HistogramAccumulator::default(), groups: 0 })
            }
            _ => Err(wrong("histogram_quantile takes a constant quantile from 0 to 1 first, such as 0.99")),
        }
    }

    fn value_of(&self, histogram: Option<HistogramView<'_>>) -> Option<f64> {
        histogram.and_then(|histogram| histogram.quantile(self.quantile))
    }

    fn take(&mut self, emit_to: EmitTo) -> Result<HistogramArrays> {
        self.sums.resize(self.groups);
        let groups = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(groups) => groups,
        };
        self.groups -= groups.min(self.groups);
        Ok(self.sums.take(groups)?)
    }
}

/// Adds the rows of the three columns of histograms that a filter lets through.
fn add(
    sums: &mut HistogramAccumulator,
    columns: &[ArrayRef],
    filter: Option<&BooleanArray>,
    group_of: impl Fn(usize) -> usize,
) -> Result<()> {
    if let Some(filter) = filter {
        let columns = columns.iter().map(|column| compute::filter(column, filter)).collect::<Result<Vec<_>, _>>()?;
        let is_kept = |row: &usize| filter.is_valid(*row) && filter.value(*row);
        let groups: Vec<usize> = (0..filter.len()).filter(is_kept).map(group_of).collect();
        return add_all(sums, &columns, |row| groups[row]);
    }
    add_all(sums, columns, group_of)
}

fn add_all(sums: &mut HistogramAccumulator, columns: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
    let [offsets, counts, zeros] = columns else { return Err(wrong("histogram_quantile takes four arguments")) };
    let columns = HistogramColumns::try_new(offsets, counts, zeros).map_err(external)?;
    sums.update(&columns, group_of).map_err(external)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn arrays(histograms: HistogramArrays) -> Vec<ArrayRef> {
    vec![histograms.offsets, histograms.counts, histograms.zeros]
}

impl Groups for Quantiles {
    fn resize(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
        self.sums.resize(self.groups);
    }

    fn value(&self, group: usize) -> ScalarValue {
        ScalarValue::Float64(self.value_of(self.sums.view(group)))
    }
}

impl GroupsAccumulator for Quantiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        add(&mut self.sums, values.get(1..).unwrap_or_default(), filter, |row| groups[row])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let taken = self.take(emit_to)?;
        let columns = HistogramColumns::try_new(&taken.offsets, &taken.counts, &taken.zeros).map_err(external)?;
        let value = |row| columns.get(row).map(|histogram| self.value_of(histogram)).map_err(external);
        Ok(Arc::new((0..columns.len()).map(value).collect::<Result<Float64Array>>()?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(arrays(self.take(emit_to)?))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        add(&mut self.sums, values, None, |row| groups[row])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = HistogramAccumulator::default();
        each.resize(values.first().map_or(0, |values| values.len()));
        add(&mut each, values.get(1..).unwrap_or_default(), filter, |row| row)?;
        Ok(arrays(each.take(usize::MAX)?))
    }

    fn size(&self) -> usize {
        self.sums.bytes()
    }
}
