//! Turns what is published into files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::record_batch::RecordBatch;

use super::Store;
use super::books::{Cut, Settled};
use super::core::Core;
use super::options::Durability;
use crate::error::StoreError;
use crate::hot;
use crate::parquet::pack_rows;
use crate::sealed::{Seal, split};
use crate::table::TableSpec;
use crate::view::{HotBatch, Position, SealedFile};

/// Hot batches by table and start of their partition.
type ByPartition = HashMap<(usize, i64), Vec<Arc<HotBatch>>>;

impl Store {
    /// Seals everything that is published now, and removes what that makes superfluous in the log; what cannot be removed
    /// there stays until the next seal. It goes on when the future is dropped.
    ///
    /// # Errors
    /// Files or manifest could not be written: all is as before, and can be tried again. Or the store is broken: what is
    /// derived may hold half a batch, which the next process counts anew from the log.
    pub async fn seal_now(self: &Arc<Self>) -> Result<(), StoreError> {
        if self.durability == Durability::Disk {
            self.core.breakage.check()?;
        }
        let store = Arc::clone(self);
        let seal = async move {
            let sealed = store.core.seal().await?;
            let remove = move || {
                if let Err(error) = store.log.remove_through(sealed) {
                    tracing::warn!(%error, "a segment of the log that is no longer needed stays until the next seal");
                }
            };
            tokio::task::spawn_blocking(remove).await.map_err(|_| StoreError::Stopping)
        };
        tokio::spawn(seal).await.map_err(|_| StoreError::Stopping)?
    }

    /// Puts small batches together, so that queries and files meet few large ones. Blocks.
    pub(super) fn coalesce(&self) {
        let tables = self.core.books.lock().coalescible();
        let mut is_changed = false;
        for (table, (spec, batches)) in self.core.tables.iter().zip(&tables).enumerate() {
            let rows: Vec<usize> = batches.iter().map(|hot| hot.batch.rows.num_rows()).collect();
            for run in hot::runs(&rows).into_iter().filter_map(|run| batches.get(run)) {
                match hot::concat(&spec.schema, run.iter().map(|hot| &hot.batch.rows)) {
                    Ok(rows) => {
                        let batch = Arc::new(HotBatch::new(rows, spec.time));
                        self.core.books.lock().replace(table, run, batch);
                        is_changed = true;
                    }
                    Err(error) => {
                        tracing::warn!(%error, batches = run.len(), "small batches could not be put together and stay as they are");
                    }
                }
            }
        }
        if is_changed {
            self.core.books.lock().publish(&self.core.view);
        }
    }
}

impl Core {
    /// Seals everything that is published now. Returns the last record that is sealed.
    ///
    /// It must not be dropped midway: files that are listed would not be seen to replace the rows in memory.
    pub(super) async fn seal(&self) -> Result<Position, StoreError> {
        let _sealing = self.sealing.lock().await;
        let Some(cut) = self.books.lock().cut() else { return Ok(self.books.lock().sealed_through()) };
        let started = Instant::now();
        let result = self.write(cut).await;
        let sealed = result.as_ref().ok().map(|(through, ..)| *through);
        let freed = self.books.lock().sealed(sealed, &self.sealed.files(), &self.view);
        self.room.add_permits(freed);
        self.seals.lock().ended(started.elapsed(), result.as_ref().err());
        let (through, files, rows) = result?;
        self.stay(&files, rows);
        Ok(through)
    }

    async fn write(&self, cut: Cut) -> Result<(Position, Vec<Arc<SealedFile>>, ByPartition), StoreError> {
        let Cut { marks, taken } = cut;
        let make = move || taken.iter().map(|taken| taken.make()).collect::<Result<Vec<_>, _>>();
        let derived = tokio::task::spawn_blocking(make).await.map_err(|_| StoreError::Stopping)?;
        let derived = derived.map_err(|source| StoreError::Rows { table: "what is derived", source })?;
        let Settled { through, tables } = self.books.lock().settle(derived, &self.view);
        let specs = Arc::clone(&self.tables);
        let split = move || by_partition(&specs, tables);
        let (rows, tables) = tokio::task::spawn_blocking(split).await.map_err(|_| StoreError::Stopping)??;
        let files = self.sealed.seal(Seal { through, marks, tables }).await?;
        Ok((through, files, rows))
    }

    /// Leaves the rows of files in memory, within the bound.
    fn stay(&self, files: &[Arc<SealedFile>], mut rows: ByPartition) {
        let mut residents = self.residents.lock();
        for file in files {
            let Some(spec) = self.tables.get(file.table) else { continue };
            let partition = (file.table, spec.partition.start_us(file.time_min_us));
            if let Some(rows) = rows.remove(&partition) {
                residents.add(file, rows);
            }
        }
    }
}

type Rows = Vec<(usize, Vec<RecordBatch>)>;

/// The batch as files hold it.
fn packed(batch: Arc<HotBatch>, spec: &TableSpec) -> Result<Arc<HotBatch>, StoreError> {
    let packed = pack_rows(&batch.rows).map_err(|source| StoreError::Rows { table: spec.name, source })?;
    Ok(packed.map_or(batch, |rows| Arc::new(HotBatch::new(rows, spec.time))))
}

/// Splits batches as their files will be. Nearly every batch is in one partition, and stays the one it is.
fn by_partition(
    specs: &[TableSpec],
    tables: Vec<(usize, Vec<Arc<HotBatch>>)>,
) -> Result<(ByPartition, Rows), StoreError> {
    let (mut partitions, mut rows) = (ByPartition::new(), Rows::new());
    for (table, batches) in tables {
        let Some(spec) = specs.get(table) else { continue };
        let mut of_table = Vec::with_capacity(batches.len());
        for batch in batches {
            let batch = packed(batch, spec)?;
            let start_us = spec.partition.start_us(batch.time_min_us);
            if start_us == spec.partition.start_us(batch.time_max_us) {
                of_table.push(batch.rows.clone());
                partitions.entry((table, start_us)).or_default().push(batch);
                continue;
            }
            let parts = split(spec, vec![batch.rows.clone()]);
            let parts = parts.map_err(|source| StoreError::Rows { table: spec.name, source })?;
            for (start_us, part) in
                parts.into_iter().flat_map(|(start_us, parts)| parts.into_iter().map(move |part| (start_us, part)))
            {
                of_table.push(part.clone());
                partitions.entry((table, start_us)).or_default().push(Arc::new(HotBatch::new(part, spec.time)));
            }
        }
        rows.push((table, of_table));
    }
    Ok((partitions, rows))
}
