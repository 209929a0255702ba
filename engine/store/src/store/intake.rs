//! How records come in: each once, in order, and no more than there is room for.

use arrow::record_batch::RecordBatch;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use super::core::Breakage;
use super::publisher::{Pending, mark};
use super::{Store, books};
use crate::error::StoreError;
use crate::hot;
use crate::log::{RECORD_BYTES_MAX, REPORTER_BYTES_MAX, Record};
use crate::marks::{Marks, Standing};
use crate::view::Position;

/// Which batches have a place in the log.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) marks: Marks,
    /// The last position given out.
    pub(super) last: Position,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is kept.
    New,
    /// It was kept before.
    Duplicate,
}

/// The place of a batch in the log, on its way to being kept.
#[derive(Debug)]
#[must_use = "a batch may be acknowledged only when it is kept"]
pub struct Ticket {
    kind: Kind,
    breakage: Breakage,
}

#[derive(Debug)]
enum Kind {
    New(oneshot::Receiver<()>),
    /// It has been offered before: it is kept when this position is published.
    Duplicate(watch::Receiver<Position>, Position),
}

impl Ticket {
    /// Waits until the batch is kept and visible.
    ///
    /// # Errors
    /// The store was closed, or broke off, first: it is not known whether the batch is kept.
    pub async fn kept(self) -> Result<Appended, StoreError> {
        match self.kind {
            Kind::New(done) => done.await.map(|()| Appended::New).map_err(|_| self.breakage.or_stopping()),
            Kind::Duplicate(mut published, position) => {
                let kept = published.wait_for(|published| position <= *published).await;
                kept.map(|_| Appended::Duplicate).map_err(|_| self.breakage.or_stopping())
            }
        }
    }
}

impl Store {
    /// Keeps a batch; `rows`, of the first table, are what its payload holds. Returns once they are durable and visible.
    /// A batch that was offered before, on whichever connection, is kept once: this waits for that.
    ///
    /// # Errors
    /// As [`offer`](Self::offer) and [`Ticket::kept`].
    pub async fn append(&self, record: Record, rows: RecordBatch) -> Result<Appended, StoreError> {
        self.offer(record, rows).await?.kept().await
    }

    /// Gives a batch its place. Waits while memory is full: because sealing does not keep up, or the disk is full.
    ///
    /// The batches of one connection have to be offered one after the other, in the order of their numbers: a batch that
    /// comes after one with a higher number counts as one that was here before. Their tickets may be awaited together.
    /// A batch without rows and payload moves the reporter's mark: that is how a refused one is passed over for good.
    ///
    /// # Errors
    /// The record is too large, its rows do not fit the table, its reporter's run is too old, or the store is closed or broken.
    pub async fn offer(&self, record: Record, rows: RecordBatch) -> Result<Ticket, StoreError> {
        self.core.breakage.check()?;
        let spec = self.core.tables.first().ok_or(StoreError::Stopping)?;
        books::check(spec, &rows)?;
        check_size(&record)?;
        if let Some(duplicate) = self.duplicate(&self.offered.lock(), &record)? {
            return Ok(duplicate);
        }
        let charge = self.core.charge(hot::memory_bytes(&rows) + record.payload.len());
        let room = take_room(&self.core.room, charge, || self.core.pressed.notify_one()).await;
        let room = room.ok_or_else(|| self.core.breakage.or_stopping())?;
        // Another connection may have offered it meanwhile.
        let mut offered = self.offered.lock();
        if let Some(duplicate) = self.duplicate(&offered, &record)? {
            return Ok(duplicate);
        }
        let (done, kept) = oneshot::channel();
        let mark = mark(&record);
        offered.last = self.log.push(record, Pending { rows, charge, done })?;
        offered.marks.advance(&mark);
        // It is given back when the record is sealed.
        room.forget();
        Ok(self.ticket(Kind::New(kept)))
    }

    /// The ticket of a batch that was here before.
    fn duplicate(&self, offered: &Offered, record: &Record) -> Result<Option<Ticket>, StoreError> {
        let Record { reporter, epoch, sequence, .. } = record;
        match offered.marks.standing(reporter, *epoch, *sequence) {
            Standing::New => Ok(None),
            Standing::TooOld => Err(StoreError::Superseded { reporter: reporter.to_string() }),
            Standing::Known => {
                // When exactly it is kept is known only for the newest records of all: they are a group or two away.
                let is_kept = *sequence <= self.mark(reporter, *epoch);
                let position = if is_kept { Position::default() } else { offered.last };
                Ok(Some(self.ticket(Kind::Duplicate(self.published.clone(), position))))
            }
        }
    }

    fn ticket(&self, kind: Kind) -> Ticket {
        Ticket { kind, breakage: self.core.breakage.clone() }
    }
}

fn check_size(record: &Record) -> Result<(), StoreError> {
    let sizes = [
        ("a payload", record.payload.len(), RECORD_BYTES_MAX),
        ("a reporter's name", record.reporter.len(), REPORTER_BYTES_MAX),
    ];
    match sizes.into_iter().find(|(_, bytes, max)| max < bytes) {
        Some((what, bytes, max)) => Err(StoreError::TooLarge { what, bytes, max }),
        None => Ok(()),
    }
}

/// `None` when there will be no more room.
async fn take_room(room: &Semaphore, charge: u32, press: impl FnOnce()) -> Option<SemaphorePermit<'_>> {
    if let Ok(permit) = room.try_acquire_many(charge) {
        return Some(permit);
    }
    press();
    room.acquire_many(charge).await.ok()
}
