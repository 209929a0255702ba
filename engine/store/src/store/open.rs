//! Opens the store: what is sealed, then what the log holds beyond.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use arrow::record_batch::RecordBatch;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::books::{self, Arrived, Books};
use super::core::{Breakage, Core};
use super::derive::Derive;
use super::intake::Offered;
use super::options::{Durability, StoreOptions};
use super::publisher::{Publisher, mark};
use super::residents::Residents;
use super::{Store, status::SealStatus};
use crate::aside::Aside;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::hot;
use crate::log::{Log, LogOptions, LogRecovery, Record, Recovered};
use crate::sealed::{Opened, Sealed, SealedOptions};
use crate::table::TableSpec;
use crate::view::{Position, View};

/// What was found when the store was opened.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// The last record that was in files.
    pub sealed_through: Position,
    /// The last record there is.
    pub position: Position,
    /// What was in the log.
    pub log: LogRecovery,
    /// Files, logs and records that cannot be served, where they are, and why.
    pub aside: Vec<Aside>,
    /// How long it took.
    pub took: Duration,
}

/// Decodes a record again, into rows by table.
type Rederive = Box<dyn FnMut(&Record) -> Result<Vec<(usize, RecordBatch)>, String> + Send>;

impl Store {
    /// Opens the store. `tables` begins with the one that records are appended to. `rederive` decodes what the log holds beyond the
    /// sealed files; what it refuses is set aside, with its reason.
    ///
    /// # Errors
    /// The directory cannot be read or written, or what it says about itself is damaged.
    pub async fn open(
        options: StoreOptions,
        tables: Vec<TableSpec>,
        derive: Box<dyn Derive>,
        rederive: impl FnMut(&Record) -> Result<Vec<(usize, RecordBatch)>, String> + Send + 'static,
    ) -> Result<(Arc<Self>, Recovery), StoreError> {
        let started = Instant::now();
        let (core, opened) = open_core(&options, tables, derive).await?;
        let sealed_through = opened.sealed_through;
        let log_options = log_options(&options, &core);
        let rederive: Rederive = Box::new(rederive);
        let replaying = (Arc::clone(&core), Handle::current());
        let replay = move || replay(&replaying.0, &log_options, rederive, &replaying.1, sealed_through);
        let (recovered, undecodable) =
            tokio::task::spawn_blocking(replay).await.map_err(|_| StoreError::Stopping)??;
        let log = recovered.found.clone();
        let aside = opened.aside.into_iter().chain(log.aside.iter().cloned()).chain(undecodable).collect();
        let store = start(core, recovered, options.durability)?;
        let position = store.core.books.lock().position();
        let recovery = Recovery { sealed_through, position, log, aside, took: started.elapsed() };
        tracing::info!(records = recovery.log.records, rows = recovery.log.rows, bytes = recovery.log.bytes, took = ?recovery.took, "the log was read");
        Ok((store, recovery))
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.core.disk.free_bytes(&self.core.dir).ok()
    }
}

async fn open_core(
    options: &StoreOptions,
    tables: Vec<TableSpec>,
    derive: Box<dyn Derive>,
) -> Result<(Arc<Core>, Opened), StoreError> {
    let StoreOptions { dir, engine, disk, remote, durability: _, memory, compaction } = options.clone();
    let sealed_options = SealedOptions { dir: dir.clone(), engine, disk: Arc::clone(&disk), remote, compaction };
    let (sealed, opened) = Sealed::open(sealed_options, tables.clone()).await?;
    let tables = Arc::new(tables);
    let books = Books::new(Arc::clone(&tables), derive, opened.sealed_through, opened.marks.clone());
    let core = Core {
        dir,
        disk,
        tables,
        limits: memory,
        sealed,
        books: Mutex::new(books),
        view: ArcSwap::from_pointee(View::default()),
        room: Semaphore::new(0),
        pressed: Notify::new(),
        residents: Mutex::new(Residents::new(memory.resident_bytes)),
        seals: Mutex::new(SealStatus::default()),
        sealing: tokio::sync::Mutex::new(()),
        breakage: Breakage::default(),
    };
    core.room.add_permits(core.room_all());
    core.books.lock().refresh(&core.sealed.files(), &core.view);
    Ok((Arc::new(core), opened))
}

fn log_options(options: &StoreOptions, core: &Core) -> LogOptions {
    // What the columns were called when a record was written.
    let schema = core.tables.first().map_or(0, |table| {
        let names = table.schema.fields().iter().map(|field| format!("{} {}\n", field.name(), field.data_type()));
        crc32c::crc32c(names.collect::<String>().as_bytes())
    });
    let (disk, data) = (Arc::clone(&options.disk), options.dir.clone());
    LogOptions { disk, data, engine: options.engine.to_string(), schema }
}

/// Takes in what the log holds. Blocks.
fn replay(
    core: &Core,
    options: &LogOptions,
    mut rederive: Rederive,
    runtime: &Handle,
    sealed: Position,
) -> Result<(Recovered, Vec<Aside>), StoreError> {
    let mut undecodable = Vec::new();
    let recovered = Recovered::read(options, sealed, &mut |position, record| {
        let rows = match decode(core, &record, &mut rederive) {
            Ok(rows) => rows,
            Err(reason) => {
                undecodable.push(set_aside(options, position, &record, reason)?);
                Vec::new()
            }
        };
        let bytes = rows.iter().map(|(_, rows)| hot::memory_bytes(rows)).sum::<usize>();
        let charge = core.charge(bytes + record.payload.len());
        if core.room.available_permits() < charge as usize {
            runtime.block_on(core.seal())?;
        }
        core.room.try_acquire_many(charge).map_err(|_| StoreError::Stopping)?.forget();
        core.books.lock().take_in(Arrived { position, mark: mark(&record), charge, rows });
        Ok(())
    })?;
    core.books.lock().publish(&core.view);
    Ok((recovered, undecodable))
}

fn decode(core: &Core, record: &Record, rederive: &mut Rederive) -> Result<Vec<(usize, RecordBatch)>, String> {
    if record.rows == 0 {
        return Ok(Vec::new());
    }
    let rows = rederive(record)?;
    for (table, rows) in &rows {
        let spec = core.tables.get(*table).ok_or_else(|| format!("there is no table {table}"))?;
        books::check(spec, rows).map_err(|error| error.to_string())?;
    }
    Ok(rows)
}

/// Keeps a record that can no longer be decoded.
fn set_aside(options: &LogOptions, position: Position, record: &Record, reason: String) -> Result<Aside, StoreError> {
    let name = format!("{}-{:016x}.record", options.engine, position.0);
    let dir = options.data.join("aside");
    let path = dir.join(&name);
    let Record { reporter, epoch, sequence, rows, .. } = record;
    let label = format!("{reporter} epoch {epoch} sequence {sequence}: {reason}\n");
    let keep = |disk: &dyn Disk| {
        disk.make_dir(&dir)?;
        for (path, bytes) in [(&path, &record.payload[..]), (&dir.join(format!("{name}.reason")), label.as_bytes())] {
            let mut file = disk.create(path)?;
            file.write_all(&mut [IoSlice::new(bytes)])?;
            file.sync()?;
        }
        disk.sync_dir(&dir)
    };
    keep(options.disk.as_ref()).map_err(StoreError::io("write", &path))?;
    tracing::error!(%position, %reporter, rows, reason, "a record of the log cannot be decoded and was set aside");
    Ok(Aside { name, reason, rows: u64::from(*rows), moved_to: Some(path) })
}

fn start(core: Arc<Core>, recovered: Recovered, durability: Durability) -> Result<Arc<Store>, StoreError> {
    let (marks, position, sealed) = {
        let books = core.books.lock();
        (books.marks().clone(), books.position(), books.sealed_through())
    };
    let publisher = Publisher::start(Arc::clone(&core))?;
    let next = recovered.next;
    let log = match durability {
        Durability::Disk => recovered.start(publisher.sink)?,
        Durability::Memory => Log::in_memory(next, publisher.sink)?,
    };
    if let Err(error) = log.remove_through(sealed) {
        tracing::warn!(%error, "a segment of the log that is no longer needed stays until the next seal");
    }
    Ok(Arc::new(Store {
        core,
        log,
        offered: Mutex::new(Offered { marks, last: position }),
        published: publisher.published,
        publisher: Mutex::new(Some(publisher.thread)),
        durability,
    }))
}
