//! Puts the rows of several files into new ones.

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;
use arrow::row::OwnedRow;

use super::plan::Job;
use super::source::{BATCH_ROWS, Batches, Head, Keys, sort};
use crate::objects::{Upload, unreadable};
use crate::parquet::{TableWriter, adapted};
use crate::sealed::{State, Unlisted, unwritable};
use crate::{SealedFile, StoreError, TableSpec};

/// Rows that are collected before those with one key are made one.
const MERGE_ROWS: usize = 65_536;

/// The new files: the next one begins when one is large enough.
pub(super) struct Output<'a> {
    state: &'a State,
    job: &'a Job,
    written: &'a mut Vec<Unlisted>,
    open: Option<(object_store::path::Path, TableWriter<Upload>)>,
    rows: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(state: &'a State, job: &'a Job, written: &'a mut Vec<Unlisted>) -> Self {
        Self { state, job, written, open: None, rows: 0 }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let (key, mut writer) = match self.open.take() {
            Some(open) => open,
            None => {
                let spec = &self.state.tables[self.job.table];
                let start_us = self.job.inputs.first().map_or(0, |file| file.time_min_us);
                let name = self.state.output_name(self.job, self.written.len());
                let key = name.key(spec, &spec.partition.directory(start_us));
                let writer = self.state.create(self.job.table, &key, self.job.positions(), self.job.sorted)?;
                (key, writer)
            }
        };
        writer.write(batch).map_err(|source| unwritable(&key, source))?;
        self.rows += batch.num_rows() as u64;
        let is_full = writer.bytes() >= self.state.options.compaction.file_bytes;
        self.open = Some((key, writer));
        if is_full { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((key, writer)) = self.open.take() else { return Ok(()) };
        let (upload, written) = writer.finish().map_err(|source| unwritable(&key, source))?;
        upload.finish()?;
        let (table, positions, sorted) = (self.job.table, self.job.positions(), self.job.sorted);
        self.written.push(Unlisted { key, table, written, positions, sorted });
        Ok(())
    }

    fn finish(mut self) -> Result<u64, StoreError> {
        self.close()?;
        Ok(self.rows)
    }
}

/// Rows in the order of arrival. Returns how many.
pub(super) fn in_order(state: &State, spec: &TableSpec, job: &Job, mut output: Output<'_>) -> Result<u64, StoreError> {
    for file in &job.inputs {
        for batch in read(state, spec, file)? {
            output.write(&batch?)?;
        }
    }
    output.finish()
}

/// Rows in the table's sort order: what is not sorted yet is sorted in memory, the rest is merged from where it is.
pub(super) fn sorted(state: &State, spec: &TableSpec, job: &Job, output: Output<'_>) -> Result<u64, StoreError> {
    let wrong = |source| StoreError::Rows { table: spec.name, source };
    let keys = Keys::new(spec).map_err(wrong)?;
    let mut sources: Vec<Batches<'_>> = Vec::new();
    let mut unsorted = Vec::new();
    for file in &job.inputs {
        let batches = read(state, spec, file)?;
        if file.sorted {
            sources.push(batches);
        } else {
            unsorted.extend(batches.collect::<Result<Vec<_>, _>>()?);
        }
    }
    let in_memory = sort(&keys, &unsorted).map_err(wrong)?;
    drop(unsorted);
    sources.push(Box::new(in_memory.into_iter().map(Ok)));
    let mut merger =
        Merger { spec, keys, output, picked: Vec::new(), pending: Vec::new(), pending_rows: 0, last: None };
    merger.run(sources)?;
    merger.output.finish()
}

/// Batches of a file with the table's columns.
fn read<'a>(state: &State, spec: &'a TableSpec, file: &'a SealedFile) -> Result<Batches<'a>, StoreError> {
    let rows = state.objects.rows(file, BATCH_ROWS)?;
    Ok(Box::new(rows.map(|batch| {
        let batch = batch.map_err(|source| unreadable(file, source))?;
        adapted(batch, &spec.schema).map_err(|source| StoreError::Rows { table: spec.name, source })
    })))
}

/// Merges sorted sources.
///
/// Holds one batch of each source and, for tables whose rows merge, about [`MERGE_ROWS`] rows; more only when one key has
/// more.
struct Merger<'a> {
    spec: &'a TableSpec,
    keys: Keys,
    output: Output<'a>,
    /// Source and row of the rows that come next.
    picked: Vec<(usize, usize)>,
    /// Rows whose key may go on, and the last one's key.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    last: Option<OwnedRow>,
}

impl<'a> Merger<'a> {
    fn run(&mut self, sources: Vec<Batches<'a>>) -> Result<(), StoreError> {
        let mut heads = Vec::new();
        for source in sources {
            heads.extend(Head::first(source, |batch| self.keyed(batch))?);
        }
        while let Some(least) = least(&heads) {
            self.settle(&heads, least)?;
            let Some(head) = heads.get_mut(least) else { break };
            self.picked.push((least, head.at));
            head.at += 1;
            let is_done = head.is_done();
            if is_done || self.picked.len() >= BATCH_ROWS {
                self.flush(&heads)?;
            }
            if is_done {
                let rest = heads.remove(least).into_rest();
                if let Some(head) = Head::first(rest, |batch| self.keyed(batch))? {
                    heads.insert(least, head);
                }
            }
        }
        self.drain()
    }

    fn keyed(&self, batch: RecordBatch) -> Result<(RecordBatch, arrow::row::Rows), StoreError> {
        let keys = self.keys.of(&batch).map_err(|source| self.wrong(source))?;
        Ok((batch, keys))
    }

    /// Makes one of the rows with one key, when there are many rows and the next one has another key.
    fn settle(&mut self, heads: &[Head<'_>], least: usize) -> Result<(), StoreError> {
        if self.pending_rows < MERGE_ROWS {
            return Ok(());
        }
        let goes_on = heads.get(least).zip(self.last.as_ref()).is_some_and(|(head, last)| head.key() == last.row());
        if goes_on {
            return Ok(());
        }
        self.flush(heads)?;
        self.drain()
    }

    fn flush(&mut self, heads: &[Head<'_>]) -> Result<(), StoreError> {
        let Some((source, row)) = self.picked.last().copied() else { return Ok(()) };
        let batches: Vec<&RecordBatch> = heads.iter().map(|head| &head.batch).collect();
        let rows = interleave_record_batch(&batches, &self.picked).map_err(|source| self.wrong(source))?;
        self.picked.clear();
        if self.spec.merge.is_none() {
            return self.output.write(&rows);
        }
        self.last = heads.get(source).map(|head| head.keys.row(row).owned());
        self.pending_rows += rows.num_rows();
        self.pending.push(rows);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        match self.spec.merge {
            Some(merge) if !pending.is_empty() => {
                let rows = merge(&pending).map_err(|source| self.wrong(source))?;
                self.output.write(&rows)
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, source: arrow::error::ArrowError) -> StoreError {
        StoreError::Rows { table: self.spec.name, source }
    }
}

/// The source whose next row is the least; of equal ones the first.
fn least(heads: &[Head<'_>]) -> Option<usize> {
    let least = heads.iter().enumerate().min_by(|(_, left), (_, right)| left.key().cmp(&right.key()));
    least.map(|(index, _)| index)
}
