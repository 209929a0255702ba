//! Publishes what the log has made durable.

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

/// The thread that publishes, while the log's thread writes what comes next. It ends when the log does.
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
        // It fails only when the publisher broke off: then nothing is acknowledged any more.
        let sink = Box::new(move |group| drop(groups.send(group)));
        Ok(Self { sink, published, thread })
    }
}

fn run(core: &Core, groups: &Receiver<Group>, published: &watch::Sender<Position>) {
    while let Ok(group) = groups.recv() {
        let mut waiting = Vec::with_capacity(group.len());
        let mut books = core.books.lock();
        for Entry { position, record, item } in group {
            let Pending { rows, charge, done } = item;
            books.take_in(Arrived { position, mark: mark(&record), charge, rows: vec![(0, rows)] });
            waiting.push(done);
        }
        books.publish(&core.view);
        let position = books.position();
        drop(books);
        // Who does not wait any more has its rows kept all the same.
        for done in waiting {
            let _ = done.send(());
        }
        published.send_replace(position);
    }
}

/// What a record does to its reporter's mark.
pub(super) fn mark(record: &Record) -> Mark {
    let Record { reporter, epoch, sequence, received_us, .. } = record;
    Mark { reporter: Arc::clone(reporter), epoch: *epoch, sequence: *sequence, heard_us: *received_us }
}
