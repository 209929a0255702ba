//! Turns what was in memory into files.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::{Name, Sealed, State, Unlisted, split, unwritable};
use crate::manifest::Entry;
use crate::{Marks, Position, SealedFile, StoreError};

/// Everything between the last sealed record and `through`.
#[derive(Debug)]
pub struct Seal {
    /// The last record.
    pub through: Position,
    /// The marks as of that record.
    pub marks: Marks,
    /// Rows by table index, in the order of arrival. They have the schema of their table.
    pub tables: Vec<(usize, Vec<RecordBatch>)>,
}

impl Sealed {
    /// Writes rows to files and lists them. After success they are durable, listed, and in [`files`](Self::files); after
    /// an error none of them is, and the same rows can be sealed again. The work goes on when the future is dropped.
    ///
    /// # Errors
    /// When a file or the manifest cannot be written.
    pub async fn seal(&self, seal: Seal) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        self.blocking(move |state| state.seal(seal)).await
    }
}

impl State {
    fn seal(&self, seal: Seal) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        let Seal { through, marks, tables } = seal;
        let (from, marks) = {
            let manifest = self.manifest.lock();
            (manifest.catalog().sealed_through.next(), manifest.changed(&marks))
        };
        let generation = self.next_generation();
        let positions = (from.min(through), through);
        let mut written = Vec::new();
        for (table, batches) in tables {
            if let Err(error) = self.write_table(table, batches, positions, generation, &mut written) {
                self.discard(&written);
                return Err(error);
            }
        }
        self.publish(written, &[], |add| Entry::Seal { generation, from, through, marks, add })
    }

    fn write_table(
        &self,
        table: usize,
        batches: Vec<RecordBatch>,
        positions: (Position, Position),
        generation: u64,
        written: &mut Vec<Unlisted>,
    ) -> Result<(), StoreError> {
        let spec = &self.tables[table];
        let rows_error = |source| StoreError::Rows { table: spec.name, source };
        for (start_us, batches) in split::split(spec, batches).map_err(rows_error)? {
            let (from, through) = positions;
            let engine = self.options.engine.to_string();
            let name = Name { engine, from, through, generation, count: written.len() };
            let key = name.key(spec, &spec.partition.directory(start_us));
            let mut writer = self.create(table, &key, positions, false)?;
            for batch in &batches {
                writer.write(batch).map_err(|source| unwritable(&key, source))?;
            }
            let (upload, file) = writer.finish().map_err(|source| unwritable(&key, source))?;
            upload.finish()?;
            written.push(Unlisted { key, table, written: file, positions, sorted: false });
        }
        Ok(())
    }
}
