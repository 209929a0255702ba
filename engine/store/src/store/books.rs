//! What is published and not sealed: the one place where rows become visible, and where they leave memory for files.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use arrow::array::Array as _;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::derive::Derive;
use super::taken::{self, DerivedRows, Taken};
use crate::error::StoreError;
use crate::marks::{Mark, Marks};
use crate::sealed::Files;
use crate::table::TableSpec;
use crate::view::{HotBatch, Position, SealedFile, TableView, View};

/// A batch, and the last record that has rows in it.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    pub(super) through: Position,
    pub(super) batch: Arc<HotBatch>,
}

/// The state behind the lock of publication.
///
/// INVARIANT: each row up to `position` is either in `hot` (or in what `derive` has not given yet) or in `files`, never in both, and
/// a [`View`] shows the one or the other.
pub(super) struct Books {
    tables: Arc<Vec<TableSpec>>,
    hot: Vec<Vec<Hot>>,
    files: Vec<TableView>,
    /// The last record that is published.
    position: Position,
    /// The last record that is sealed.
    sealed: Position,
    /// What is being sealed at the moment. It must not be put together with what is not.
    cut: Option<Position>,
    marks: Marks,
    derive: Box<dyn Derive>,
    /// What was derived from the rows of a cut, until it is hot itself.
    taken: Vec<Arc<Taken>>,
    /// Memory that records hold until they are sealed, in units of the store's bound.
    charges: VecDeque<(Position, u32)>,
    rows: u64,
    oldest: Option<Instant>,
    /// The view with what is derived, if it was asked for since the last change.
    complete: Option<Arc<View>>,
}

/// A seal that begins.
pub(super) struct Cut {
    pub(super) marks: Marks,
    /// What was derived of the rows up to the cut.
    pub(super) taken: Vec<Arc<Taken>>,
}

/// What goes into files: all that is published, up to a record.
pub(super) struct Settled {
    pub(super) through: Position,
    pub(super) tables: Vec<(usize, Vec<Arc<HotBatch>>)>,
}

/// What a record brings.
pub(super) struct Arrived {
    pub(super) position: Position,
    pub(super) mark: Mark,
    pub(super) charge: u32,
    /// By table.
    pub(super) rows: Vec<(usize, RecordBatch)>,
}

impl Books {
    pub(super) fn new(tables: Arc<Vec<TableSpec>>, derive: Box<dyn Derive>, sealed: Position, marks: Marks) -> Self {
        Self {
            hot: vec![Vec::new(); tables.len()],
            files: vec![TableView::default(); tables.len()],
            tables,
            position: sealed,
            sealed,
            cut: None,
            marks,
            derive,
            taken: Vec::new(),
            charges: VecDeque::new(),
            rows: 0,
            oldest: None,
            complete: None,
        }
    }

    /// Takes in a record that is durable. Records come in the order of their positions.
    pub(super) fn take_in(&mut self, arrived: Arrived) {
        let Arrived { position, mark, charge, rows } = arrived;
        for (table, rows) in rows {
            self.rows += rows.num_rows() as u64;
            let kept = if table == 0 { self.count(rows) } else { rows };
            self.keep(table, position, kept);
        }
        self.charges.push_back((position, charge));
        self.marks.advance(&mark);
        self.position = position;
        self.oldest.get_or_insert_with(Instant::now);
    }

    fn count(&mut self, rows: RecordBatch) -> RecordBatch {
        self.derive.add(&rows);
        self.derive.reduce(rows)
    }

    fn keep(&mut self, table: usize, through: Position, rows: RecordBatch) {
        if rows.num_rows() == 0 {
            return;
        }
        if let (Some(spec), Some(hot)) = (self.tables.get(table), self.hot.get_mut(table)) {
            hot.push(Hot { through, batch: Arc::new(HotBatch::new(rows, spec.time)) });
        }
    }

    /// Shows what there is now.
    pub(super) fn publish(&mut self, view: &ArcSwap<View>) {
        self.complete = None;
        let before = view.load();
        let table = |(index, hot): (usize, &Vec<Hot>)| {
            let known = before.tables.get(index).map(|table| &table.hot);
            let is_same = |known: &&Arc<Vec<Arc<HotBatch>>>| {
                known.len() == hot.len() && known.iter().zip(hot).all(|(known, hot)| Arc::ptr_eq(known, &hot.batch))
            };
            let unchanged = known.filter(is_same).map(Arc::clone);
            let batches = unchanged.unwrap_or_else(|| Arc::new(hot.iter().map(|hot| Arc::clone(&hot.batch)).collect()));
            TableView { hot: batches, files: Arc::clone(&self.files[index].files) }
        };
        let tables = self.hot.iter().enumerate().map(table).collect();
        view.store(Arc::new(View { tables, position: self.position }));
    }

    /// The view with what is derived. An error is what has to be [made](Taken::make) first, without the lock.
    pub(super) fn complete(&mut self, view: &ArcSwap<View>) -> Result<Arc<View>, Arc<Taken>> {
        if let Some(complete) = &self.complete {
            return Ok(Arc::clone(complete));
        }
        let mut derived = Vec::new();
        for taken in &self.taken {
            derived.extend(taken.made().ok_or_else(|| Arc::clone(taken))?);
        }
        derived.extend(taken::hot(&self.tables, self.derive.snapshot()));
        let mut complete = View::clone(&view.load());
        for (table, batch) in derived {
            if let Some(shown) = complete.tables.get_mut(table) {
                Arc::make_mut(&mut shown.hot).push(batch);
            }
        }
        let complete = Arc::new(complete);
        self.complete = Some(Arc::clone(&complete));
        Ok(complete)
    }

    /// Begins a seal of all that is published; `None` when all is sealed. What was derived of it is to be made, then to be
    /// [taken in](Self::settle).
    pub(super) fn cut(&mut self) -> Option<Cut> {
        if self.position <= self.sealed {
            return None;
        }
        self.cut = Some(self.position);
        // There are others only if rows could not be made of them.
        self.taken.push(Arc::new(Taken::new(Arc::clone(&self.tables), self.derive.take())));
        self.complete = None;
        Some(Cut { marks: self.marks.clone(), taken: self.taken.clone() })
    }

    /// What goes into files: all up to the cut, with what was derived of it.
    pub(super) fn settle(&mut self, derived: Vec<DerivedRows>, view: &ArcSwap<View>) -> Settled {
        let through = self.cut.unwrap_or(self.position);
        self.taken.clear();
        for (table, batch) in derived.into_iter().flatten() {
            if let Some(hot) = self.hot.get_mut(table) {
                hot.push(Hot { through, batch });
            }
        }
        self.publish(view);
        let is_cut = |hot: &&Hot| hot.through <= through;
        let batches =
            |hot: &Vec<Hot>| -> Vec<_> { hot.iter().filter(is_cut).map(|hot| Arc::clone(&hot.batch)).collect() };
        let tables = self.hot.iter().map(batches).enumerate().filter(|(_, batches)| !batches.is_empty()).collect();
        Settled { through, tables }
    }

    /// A seal has ended. When it went well, hot rows leave in the instant in which their files appear. Returns what
    /// their records were charged.
    pub(super) fn sealed(&mut self, through: Option<Position>, files: &Files, view: &ArcSwap<View>) -> usize {
        self.cut = None;
        let mut freed = 0;
        if let Some(through) = through {
            self.hot.iter_mut().for_each(|hot| hot.retain(|hot| through < hot.through));
            while let Some((_, charge)) = self.charges.pop_front_if(|(position, _)| *position <= through) {
                freed += charge as usize;
            }
            self.sealed = through;
            let hot = self.hot.first().map_or(&[][..], Vec::as_slice);
            self.rows = hot.iter().map(|hot| hot.batch.rows.num_rows() as u64).sum();
            self.oldest = (through < self.position).then(Instant::now);
        }
        self.list(files);
        self.publish(view);
        freed
    }

    /// Files were replaced or removed. While a seal is under way its end shows that, too: its own files must not appear
    /// before its rows leave.
    pub(super) fn refresh(&mut self, files: &Files, view: &ArcSwap<View>) {
        if self.cut.is_none() {
            self.list(files);
            self.publish(view);
        }
    }

    /// Files are no longer served.
    pub(super) fn leave_out(&mut self, gone: &[Arc<SealedFile>], view: &ArcSwap<View>) {
        for file in gone {
            if let Some(table) = self.files.get_mut(file.table) {
                let is_kept = |kept: &&Arc<SealedFile>| !Arc::ptr_eq(kept, file);
                table.files = Arc::new(table.files.iter().filter(is_kept).cloned().collect());
            }
        }
        self.publish(view);
    }

    fn list(&mut self, files: &Files) {
        for (table, files) in self.files.iter_mut().zip(files) {
            table.files = Arc::new(files.clone());
        }
    }

    /// Batches of each table that may be put together.
    pub(super) fn coalescible(&self) -> Vec<Vec<Hot>> {
        let is_free = |hot: &&Hot| self.cut.is_none_or(|cut| cut < hot.through);
        self.hot.iter().map(|hot| hot.iter().filter(is_free).cloned().collect()).collect()
    }

    /// Replaces neighbouring batches by one, unless they have left meanwhile.
    pub(super) fn replace(&mut self, table: usize, run: &[Hot], with: Arc<HotBatch>) {
        let (Some(first), Some(last), Some(hot)) = (run.first(), run.last(), self.hot.get_mut(table)) else { return };
        let is_same = |left: &Hot, right: &Hot| Arc::ptr_eq(&left.batch, &right.batch);
        let Some(start) = hot.iter().position(|hot| is_same(hot, first)) else { return };
        let here = hot.get(start..start + run.len());
        let is_here = here.is_some_and(|here| here.iter().zip(run).all(|(left, right)| is_same(left, right)));
        // A cut that was made meanwhile may go through the run, or has it in hand.
        if is_here && self.cut.is_none_or(|cut| cut < first.through) {
            hot.splice(start..start + run.len(), [Hot { through: last.through, batch: with }]);
        }
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn sealed_through(&self) -> Position {
        self.sealed
    }

    /// Rows that are not sealed, and since when there are any.
    pub(super) fn unsealed(&self) -> (u64, Option<Instant>) {
        (self.rows, self.oldest)
    }
}

/// Whether rows are what their table takes.
pub(super) fn check(table: &TableSpec, rows: &RecordBatch) -> Result<(), StoreError> {
    let rows_error = |problem: String| StoreError::Rows { table: table.name, source: ArrowError::SchemaError(problem) };
    if !Arc::ptr_eq(&rows.schema(), &table.schema) && rows.schema().fields() != table.schema.fields() {
        return Err(rows_error("other columns than the table's".to_owned()));
    }
    match rows.column_by_name(table.time).map(|time| time.null_count()) {
        Some(0) => Ok(()),
        _ => Err(rows_error(format!("`{}` is not there in each row", table.time))),
    }
}
