//! Publishes what the log has made durable.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use arrow::record_batch::RecordBatch;
use tokio::sync::{oneshot, watch};

use super::books::Arrived;
use super::core::Core;
use crate::error::StoreError;
use crate::log::{Entry, Record, Sink};
use crate::marks::Mark;
use crate::view::Position;

/// Groups that may wait for publication; then the log waits.
const GROUPS_MAX: usize = 4;

/// What waits with a record for its durability.
pub(super) struct Pending {
    pub(super) rows: RecordBatch,
    pub(super) charge: u32,
    pub(super) done: oneshot::Sender<()>,
}

type Group = Vec<Entry<Pending>>;

/// The thread that publishes, while the log's thread writes what comes next. It ends when the log does, or with a panic of
/// what derives: then the store is [broken](super::core::Breakage).
pub(super) struct Publisher {
    pub(super) sink: Sink<Pending>,
    pub(super) published: watch::Receiver<Position>,
    pub(super) thread: JoinHandle<()>,
}

impl Publisher {
    pub(super) fn start(core: Arc<Core>) -> Result<Self, StoreError> {
        let (groups, received): (SyncSender<Group>, _) = sync_channel(GROUPS_MAX);
        let (sender, published) = watch::channel(core.books.lock().position());
        let run = move || run(&core, &received, &sender);
        let thread = Builder::new().name("tollgate-publish".to_owned()).spawn(run);
        let thread = thread.map_err(StoreError::io("start the thread that publishes", "log".as_ref()))?;
        // It fails only when the publisher broke off: then nothing is acknowledged any more, and whoever waits is told so.
        let sink = Box::new(move |group| drop(groups.send(group)));
        Ok(Self { sink, published, thread })
    }
}

fn run(core: &Core, groups: &Receiver<Group>, published: &watch::Sender<Position>) {
    while let Ok(group) = groups.recv() {
        let (arrived, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(split).unzip();
        let position = match catch_unwind(AssertUnwindSafe(|| publish(core, arrived))) {
            Ok(position) => position,
            Err(panic) => {
                // Before those who wait are let go, so that they are told why.
                core.breakage.note(message(panic.as_ref()));
                core.room.close();
                return;
            }
        };
        // Who does not wait any more has its rows kept all the same.
        for done in waiting {
            let _ = done.send(());
        }
        published.send_replace(position);
    }
}

fn split(Entry { position, record, item }: Entry<Pending>) -> (Arrived, oneshot::Sender<()>) {
    let Pending { rows, charge, done } = item;
    (Arrived { position, mark: mark(&record), charge, rows: vec![(0, rows)] }, done)
}

fn publish(core: &Core, arrived: Vec<Arrived>) -> Position {
    let mut books = core.books.lock();
    arrived.into_iter().for_each(|arrived| books.take_in(arrived));
    books.publish(&core.view);
    books.position()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked without a message").to_owned()
}

/// What a record does to its reporter's mark.
pub(super) fn mark(record: &Record) -> Mark {
    let Record { reporter, epoch, sequence, received_us, .. } = record;
    Mark { reporter: Arc::clone(reporter), epoch: *epoch, sequence: *sequence, heard_us: *received_us }
}
