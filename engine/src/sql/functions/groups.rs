//! Lets an accumulator for groups serve queries without groups, so that each aggregate is written once.

use std::fmt;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// What [`Single`] needs beside.
pub(super) trait Groups: GroupsAccumulator + Sync + fmt::Debug {
    /// Makes room for at least this many groups.
    fn resize(&mut self, groups: usize);
    /// The result of a group, which goes on.
    fn value(&self, group: usize) -> Result<ScalarValue>;
}

/// The accumulator of the one group that a query without groups has.
#[derive(Debug)]
pub(super) struct Single<G>(G);

impl<G: Groups> Single<G> {
    pub(super) fn new(mut groups: G) -> Self {
        groups.resize(1);
        Self(groups)
    }
}

impl<G: Groups> Accumulator for Single<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.value(0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.0.state(EmitTo::All)?;
        self.0.resize(1);
        state.iter().map(|part| ScalarValue::try_from_array(part, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }
}
