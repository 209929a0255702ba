//! Aggregates over histograms, as the tables `traffic` have them in three columns:
//! `histogram_quantile(0.99, duration_offset, duration_counts, duration_zero)`, a quantile of their sum in microseconds, and
//! `le_counts(duration_offset, duration_counts, duration_zero)`, how many durations are at most each of Envoy's bounds.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Builder, ListBuilder, StructArray,
};
use arrow::compute;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, Expr, GroupsAccumulator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::physical_plan::expressions::Literal;
use tollgate_rollups::{HistogramAccumulator, HistogramArrays, HistogramColumns, HistogramView};

use super::arguments::wrong;
use super::groups::{Groups, Single};
use super::packed;

pub(super) fn functions() -> [AggregateUDF; 2] {
    [Question::Quantile, Question::UpToBounds].map(|question| function(question, Counts::Listed))
}

fn function(question: Question, counts: Counts) -> AggregateUDF {
    let counts_type = match counts {
        Counts::Listed => counts_type(),
        Counts::Packed => DataType::Binary,
    };
    let histogram = [DataType::Int32, counts_type, DataType::Int64];
    let types = question.first_argument().into_iter().chain(histogram).collect();
    let signature = Signature::one_of(vec![TypeSignature::Exact(types)], Volatility::Immutable);
    AggregateUDF::from(OverHistograms { question, counts, signature })
}

/// The same aggregate over packed counts; `None` when it is about no histograms, or over such already.
pub(in crate::sql) fn over_packed(function: &AggregateUDF) -> Option<Arc<AggregateUDF>> {
    let over = function.inner().downcast_ref::<OverHistograms>()?;
    (over.counts == Counts::Listed).then(|| Arc::new(self::function(over.question, Counts::Packed)))
}

/// Whether an aggregate is `histogram_quantile` with this quantile, which is right.
pub(in crate::sql) fn is_quantile(function: &AggregateUDF, quantile: &Expr) -> bool {
    let over = function.inner().downcast_ref::<OverHistograms>();
    let is_right =
        matches!(quantile, Expr::Literal(ScalarValue::Float64(Some(quantile)), _) if QUANTILES.contains(quantile));
    is_right && over.is_some_and(|over| over.question == Question::Quantile)
}

/// The sum of histograms, for [`quantile_of_sum`].
pub(in crate::sql) fn sum_of(columns: Vec<Expr>, filter: Option<Box<Expr>>) -> Expr {
    let sum = Arc::new(function(Question::Sum, Counts::Listed));
    Expr::AggregateFunction(AggregateFunction::new_udf(sum, columns, false, filter, Vec::new(), None))
}

/// What `histogram_quantile` says, of a sum.
pub(in crate::sql) fn quantile_of_sum(quantile: Expr, sum: Expr) -> Expr {
    ScalarUDF::from(QuantileOfSum { signature: Signature::any(2, Volatility::Immutable) }).call(vec![quantile, sum])
}

/// What can be asked for.
const QUANTILES: RangeInclusive<f64> = 0.0..=1.0;

/// Which of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    Quantile,
    UpToBounds,
    /// The sum itself, of which several quantiles are asked.
    Sum,
}

impl Question {
    /// Type of what stands before the columns of the histogram.
    fn first_argument(self) -> Option<DataType> {
        (self == Self::Quantile).then_some(DataType::Float64)
    }
}

/// How a column has the counts of histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counts {
    Listed,
    /// As [`packed`] gives them.
    Packed,
}

fn sum_fields() -> Fields {
    let field = |name, data_type| Field::new(name, data_type, true);
    Fields::from(vec![field("offset", DataType::Int32), field("counts", counts_type()), field("zero", DataType::Int64)])
}

fn counts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OverHistograms {
    question: Question,
    counts: Counts,
    signature: Signature,
}

impl AggregateUDFImpl for OverHistograms {
    fn name(&self) -> &str {
        match self.question {
            Question::Quantile => "histogram_quantile",
            Question::UpToBounds => "le_counts",
            Question::Sum => "histogram_sum",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.question {
            Question::Quantile => DataType::Float64,
            Question::UpToBounds => counts_type(),
            Question::Sum => DataType::Struct(sum_fields()),
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
    answer: Answer,
    sums: HistogramAccumulator,
    groups: usize,
}

/// What is said of a sum.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Quantile(f64),
    UpToBounds,
    Sum,
}

impl Answer {
    fn of(self, sums: &HistogramArrays) -> Result<ArrayRef> {
        let columns = HistogramColumns::try_new(&sums.offsets, &sums.counts, &sums.zeros).map_err(external)?;
        let views = (0..columns.len()).map(|row| columns.get(row).map_err(external));
        match self {
            Self::Quantile(quantile) => quantiles(views, quantile),
            Self::UpToBounds => {
                let mut counts = ListBuilder::new(Int64Builder::new());
                for view in views {
                    match view? {
                        Some(view) => counts.append_value(view.le_counts().map(Some)),
                        None => counts.append_null(),
                    }
                }
                Ok(Arc::new(counts.finish()))
            }
            Self::Sum => Ok(Arc::new(StructArray::try_new(sum_fields(), arrays(sums.clone()), None)?)),
        }
    }
}

fn quantiles<'a>(views: impl Iterator<Item = Result<Option<HistogramView<'a>>>>, quantile: f64) -> Result<ArrayRef> {
    let value = |view: Result<Option<HistogramView<'_>>>| Ok(view?.and_then(|view| view.quantile(quantile)));
    Ok(Arc::new(views.map(value).collect::<Result<Float64Array>>()?))
}

impl Sums {
    fn new(question: Question, args: &AccumulatorArgs<'_>) -> Result<Self> {
        let answer = match question {
            Question::Quantile => Answer::Quantile(constant_quantile(args)?),
            Question::UpToBounds => Answer::UpToBounds,
            Question::Sum => Answer::Sum,
        };
        Ok(Self { answer, sums: HistogramAccumulator::default(), groups: 0 })
    }

    /// The columns of the histogram among the arguments.
    fn columns<'a>(&self, values: &'a [ArrayRef]) -> &'a [ArrayRef] {
        let before = usize::from(matches!(self.answer, Answer::Quantile(_)));
        values.get(before..).unwrap_or_default()
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
        Some(ScalarValue::Float64(Some(quantile))) if QUANTILES.contains(quantile) => Ok(*quantile),
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
    if counts.data_type().is_binary() {
        return packed::add(sums, [offsets, counts, zeros], group_of);
    }
    let columns = HistogramColumns::try_new(offsets, counts, zeros).map_err(external)?;
    sums.update(&columns, group_of).map_err(external)
}

pub(super) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
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

    fn value(&self, group: usize) -> Result<ScalarValue> {
        let sum = HistogramArrays::collect(std::iter::once(self.sums.view(group)))?;
        ScalarValue::try_from_array(&self.answer.of(&sum)?, 0)
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
        self.answer.of(&taken)
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

/// `histogram_quantile` over sums: the last step, where several are asked for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct QuantileOfSum {
    signature: Signature,
}

impl ScalarUDFImpl for QuantileOfSum {
    fn name(&self) -> &'static str {
        "quantile_of_sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(ScalarValue::Float64(Some(quantile))), sums] = args.args.as_slice() else {
            return Err(wrong("quantile_of_sum takes a constant quantile and a sum of histograms"));
        };
        let sums = sums.to_array(args.number_rows)?;
        let Some([offsets, counts, zeros]) = sums.as_struct_opt().map(StructArray::columns) else {
            return Err(wrong("a sum of histograms has three columns: offset, counts and zero"));
        };
        let columns = HistogramColumns::try_new(offsets, counts, zeros).map_err(external)?;
        let views = (0..columns.len()).map(|row| columns.get(row).map_err(external));
        Ok(ColumnarValue::Array(quantiles(views, *quantile)?))
    }
}
