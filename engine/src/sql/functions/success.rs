//! `success_rate(status)`: the share of requests that were answered, and not with 5xx; `success_rate(status, weight)` where
//! rows stand for several.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, TypeSignature, Volatility,
};

use super::groups::{Groups, Single};

pub(super) fn function() -> AggregateUDF {
    let integers = |count| TypeSignature::Exact(vec![DataType::Int64; count]);
    let signature = Signature::one_of(vec![integers(1), integers(2)], Volatility::Immutable);
    AggregateUDF::from(SuccessRate { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SuccessRate {
    signature: Signature,
}

impl AggregateUDFImpl for SuccessRate {
    fn name(&self) -> &str {
        "success_rate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part| Arc::new(Field::new(format_state_name(args.name, part), DataType::Int64, false));
        Ok(vec![field("good"), field("all")])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single::new(Shares::default())))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Shares::default()))
    }
}

/// By group: requests that succeeded, and all.
#[derive(Debug, Default)]
struct Shares {
    good: Vec<i64>,
    all: Vec<i64>,
}

impl Shares {
    fn add(&mut self, group: usize, good: i64, all: i64) {
        if let (Some(goods), Some(alls)) = (self.good.get_mut(group), self.all.get_mut(group)) {
            *goods = goods.saturating_add(good);
            *alls = alls.saturating_add(all);
        }
    }

    /// Adds each row that the filter lets through.
    fn count(&mut self, values: &[ArrayRef], filter: Option<&BooleanArray>, group_of: impl Fn(usize) -> usize) {
        let Some(statuses) = values.first().map(|statuses| statuses.as_primitive::<Int64Type>()) else { return };
        let weights = values.get(1).map(|weights| weights.as_primitive::<Int64Type>());
        for row in 0..statuses.len() {
            if filter.is_some_and(|filter| !filter.is_valid(row) || !filter.value(row)) {
                continue;
            }
            let weight = weights.map_or(1, |weights| if weights.is_valid(row) { weights.value(row) } else { 0 });
            let is_good = statuses.is_valid(row) && statuses.value(row) < 500;
            self.add(group_of(row), if is_good { weight } else { 0 }, weight);
        }
    }

    fn share(&self, group: usize) -> Option<f64> {
        let (good, all) = self.good.get(group).zip(self.all.get(group))?;
        (*all > 0).then(|| *good as f64 / *all as f64)
    }
}

impl Groups for Shares {
    fn resize(&mut self, groups: usize) {
        self.good.resize(groups.max(self.good.len()), 0);
        self.all.resize(groups.max(self.all.len()), 0);
    }

    fn value(&self, group: usize) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.share(group)))
    }
}

impl GroupsAccumulator for Shares {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        self.count(values, filter, |row| groups[row]);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let shares = Self { good: emit_to.take_needed(&mut self.good), all: emit_to.take_needed(&mut self.all) };
        let shares: Float64Array = (0..shares.all.len()).map(|group| shares.share(group)).collect();
        Ok(Arc::new(shares))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let take = |part: &mut Vec<i64>| Arc::new(Int64Array::from(emit_to.take_needed(part))) as ArrayRef;
        Ok(vec![take(&mut self.good), take(&mut self.all)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        if let [good, all] = values {
            let (good, all) = (good.as_primitive::<Int64Type>().values(), all.as_primitive::<Int64Type>().values());
            groups.iter().zip(good.iter().zip(all)).for_each(|(group, (good, all))| self.add(*group, *good, *all));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = Self::default();
        each.resize(values.first().map_or(0, |values| values.len()));
        each.count(values, filter, |row| row);
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        (self.good.capacity() + self.all.capacity()) * size_of::<i64>()
    }
}
