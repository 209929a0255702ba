//! Aggregates over histograms, as the tables `traffic` have them in three columns:
//! `histogram_quantile(0.99, duration_offset, duration_counts, duration_zero)`, a quantile of their sum in microseconds, and
//! `le_counts(duration_offset, duration_counts, duration_zero)`, how many durations are at most each of Envoy's bounds.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, new_empty_array};
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

pub(super) fn functions() -> [AggregateUDF; 2] {
    [Question::Quantile, Question::UpToBounds].map(|question| {
        let histogram = [DataType::Int32, counts_type(), DataType::Int64];
        let types = question.first_argument().into_iter().chain(histogram).collect();
        let signature = Signature::one_of(vec![TypeSignature::Exact(types)], Volatility::Immutable);
        AggregateUDF::from(OverHistograms { question, signature })
    })
}

/// Which of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    Quantile,
    UpToBounds,
}

impl Question {
    /// Type of what stands before the columns of the histogram.
    fn first_argument(self) -> Option<DataType> {
        (self == Self::Quantile).then_some(DataType::Float64)
    }
}

fn counts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OverHistograms {
    question: Question,
    signature: Signature,
}

impl AggregateUDFImpl for OverHistograms {
    fn name(&self) -> &str {
        match self.question {
            Question::Quantile => "histogram_quantile",
            Question::UpToBounds => "le_counts",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.question {
            Question::Quantile => DataType::Float64,
            Question::UpToBounds => counts_type(),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part, data_type| Arc::new(Field::new(format_state_name(args.name, part), data_type, true));
        Ok(vec![field("offset", DataType::Int32), field("counts", counts_type()), field("zero", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(Sums::new(self.question, &args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sums::new(self.question, &args)?))
    }
}

/// The sums of histograms by group, and what is asked about them.
#[derive(Debug)]
struct Sums {
    /// `None` where the counts up to the bounds are asked for.
    quantile: Option<f64>,
    sums: HistogramAccumulator,
    groups: usize,
}

impl Sums {
    fn new(question: Question, args: &AccumulatorArgs<'_>) -> Result<Self> {
        let quantile = match question {
            Question::Quantile => Some(constant_quantile(args)?),
            Question::UpToBounds => None,
        };
        Ok(Self { quantile, sums: HistogramAccumulator::default(), groups: 0 })
    }

    fn value_of(&self, histogram: Option<HistogramView<'_>>) -> ScalarValue {
        match (self.quantile, histogram) {
            (Some(quantile), histogram) => {
                ScalarValue::Float64(histogram.and_then(|histogram| histogram.quantile(quantile)))
            }
            (None, Some(histogram)) => {
                let counts = histogram.le_counts().map(|count| ScalarValue::Int64(Some(count)));
                ScalarValue::List(ScalarValue::new_list_nullable(&counts, &DataType::Int64))
            }
            (None, None) => ScalarValue::new_null_list(DataType::Int64, true, 1),
        }
    }

    /// The columns of the histogram among the arguments.
    fn columns<'a>(&self, values: &'a [ArrayRef]) -> &'a [ArrayRef] {
        values.get(usize::from(self.quantile.is_some())..).unwrap_or_default()
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

fn constant_quantile(args: &AccumulatorArgs<'_>) -> Result<f64> {
    let literal = args.exprs.first().and_then(|quantile| quantile.downcast_ref::<Literal>());
    match literal.map(Literal::value) {
        Some(ScalarValue::Float64(Some(quantile))) if (0.0..=1.0).contains(quantile) => Ok(*quantile),
        _ => Err(wrong("histogram_quantile takes a constant quantile from 0 to 1 first, such as 0.99")),
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
    let [offsets, counts, zeros] = columns else {
        return Err(wrong("a histogram has three columns: offset, counts and zero"));
    };
    let columns = HistogramColumns::try_new(offsets, counts, zeros).map_err(external)?;
    sums.update(&columns, group_of).map_err(external)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn arrays(histograms: HistogramArrays) -> Vec<ArrayRef> {
    vec![histograms.offsets, histograms.counts, histograms.zeros]
}

impl Groups for Sums {
    fn resize(&mut self, groups: usize) {
        self.groups = self.groups.max(groups);
        self.sums.resize(self.groups);
    }

    fn value(&self, group: usize) -> ScalarValue {
        self.value_of(self.sums.view(group))
    }
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        let columns = self.columns(values);
        add(&mut self.sums, columns, filter, |row| groups[row])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let taken = self.take(emit_to)?;
        let columns = HistogramColumns::try_new(&taken.offsets, &taken.counts, &taken.zeros).map_err(external)?;
        if columns.is_empty() {
            return Ok(new_empty_array(&self.value_of(None).data_type()));
        }
        let value = |row| columns.get(row).map(|histogram| self.value_of(histogram)).map_err(external);
        ScalarValue::iter_to_array((0..columns.len()).map(value).collect::<Result<Vec<_>>>()?)
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
        add(&mut each, self.columns(values), filter, |row| row)?;
        Ok(arrays(each.take(usize::MAX)?))
    }

    fn size(&self) -> usize {
        self.sums.bytes()
    }
}
