//! Decides batches of requests, each distinct one once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::{RowConverter, Rows as Keys, SortField};
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tollgate_policies::tools::{Columns, Judge, Recorded, RequestFacts};

use super::answer::{self, Answer};
use super::facts::Rows;

/// Most distinct requests that are remembered; when there are more, all are forgotten and decided anew when they come again.
const REMEMBERED_MAX: usize = 65_536;

/// What is asked, the same for all rows.
pub(super) struct Question {
    pub(super) judge: Arc<Judge>,
    pub(super) recorded: Recorded,
    pub(super) columns: Columns,
}

/// Decides the rows of one partition.
///
/// Bound: [`REMEMBERED_MAX`], and the memory that queries may take, of which it asks for what it remembers.
pub(super) struct Decider {
    question: Arc<Question>,
    schema: SchemaRef,
    /// Made for the types of the first batch.
    converter: Option<RowConverter>,
    remembered: HashMap<Box<[u8]>, Arc<Answer>>,
    reservation: MemoryReservation,
    bytes: usize,
    nothing: Arc<Answer>,
}

impl Decider {
    pub(super) fn new(question: Arc<Question>, schema: SchemaRef, reservation: MemoryReservation) -> Self {
        let (remembered, nothing) = (HashMap::new(), Arc::default());
        Self { question, schema, converter: None, remembered, reservation, bytes: 0, nothing }
    }

    /// The rows with what is said of them.
    pub(super) fn decide(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let answers = self.answers(batch)?;
        let column = |name: &str| {
            let missing = || internal_datafusion_err!("requests without `{name}`");
            answer::column(name, &answers).or_else(|| batch.column_by_name(name).cloned()).ok_or_else(missing)
        };
        let columns = self.schema.fields().iter().map(|field| column(field.name())).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn answers(&mut self, batch: &RecordBatch) -> Result<Vec<Arc<Answer>>> {
        let rows = Rows::new(batch, &self.question.columns)?;
        let keys = rows.keys();
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = keys.iter().map(|column| SortField::new(column.data_type().clone()));
                none.insert(RowConverter::new(fields.collect())?)
            }
        };
        let keys = converter.convert_columns(&keys)?;
        let is_unknown = |row: &usize| !self.remembered.contains_key(keys.row(*row).data());
        let mut unknown: Vec<usize> = (0..batch.num_rows()).filter(is_unknown).collect();
        if self.remembered.len() + unknown.len() > REMEMBERED_MAX {
            self.remembered.clear();
            self.bytes = 0;
            unknown = (0..batch.num_rows()).collect();
        }
        self.decide_unknown(&rows, &keys, &unknown)?;
        let answer = |row: usize| {
            let answer = self.remembered.get(keys.row(row).data());
            answer.cloned().unwrap_or_else(|| Arc::clone(&self.nothing))
        };
        Ok((0..batch.num_rows()).map(answer).collect())
    }

    /// Decides each distinct request among these rows.
    fn decide_unknown(&mut self, rows: &Rows, keys: &Keys, unknown: &[usize]) -> Result<()> {
        let mut asked: Vec<(usize, RequestFacts)> = Vec::new();
        let mut seen = HashSet::new();
        for row in unknown.iter().copied().filter(|row| seen.insert(keys.row(*row).data())) {
            match rows.facts(row) {
                Some(facts) => asked.push((row, facts)),
                None => self.remember(keys.row(row).data(), Arc::clone(&self.nothing)),
            }
        }
        let Question { judge, recorded, .. } = &*self.question;
        let judged = judge.judge_each(asked.iter().map(|(_, facts)| facts), recorded);
        for ((row, _), judgement) in asked.iter().zip(judged) {
            self.remember(keys.row(*row).data(), Arc::new(Answer::of(judgement)));
        }
        self.reservation.try_resize(self.bytes)
    }

    fn remember(&mut self, key: &[u8], answer: Arc<Answer>) {
        self.bytes += key.len() + answer.bytes() + size_of::<(Box<[u8]>, Arc<Answer>)>();
        self.remembered.insert(key.into(), answer);
    }
}
