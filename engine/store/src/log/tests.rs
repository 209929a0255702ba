mod format;
mod recovery;
mod writing;

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::LocalDisk;

fn options(data: &Path, disk: Arc<dyn Disk>) -> LogOptions {
    LogOptions { disk, data: data.to_owned(), engine: "e1".to_owned(), schema: 7 }
}

fn record(sequence: u64, payload: impl Into<Bytes>) -> Record {
    Record { reporter: "r".into(), epoch: 1, sequence, received_us: 42, rows: 1, payload: payload.into() }
}

/// A log and the positions and sequences of what became durable.
struct Opened {
    log: Log<()>,
    durable: Receiver<(Position, u64)>,
    found: LogRecovery,
    /// Positions and sequences found.
    records: Vec<(u64, u64)>,
}

fn open(options: &LogOptions, sealed: u64) -> Result<Opened, StoreError> {
    let mut records = Vec::new();
    let recovered = Recovered::read(options, Position(sealed), &mut |position, record| {
        records.push((position.0, record.sequence));
        Ok(())
    })?;
    let found = recovered.found.clone();
    let (sender, durable) = channel();
    let log = recovered.start(Box::new(move |group: Vec<Entry<()>>| {
        group.iter().for_each(|entry| sender.send((entry.position, entry.record.sequence)).unwrap_or_default());
    }))?;
    Ok(Opened { log, durable, found, records })
}

fn open_local(data: &Path, sealed: u64) -> Opened {
    open(&options(data, Arc::new(LocalDisk)), sealed).unwrap()
}

/// Writes records with these sequences and closes the log.
fn write(data: &Path, sequences: std::ops::RangeInclusive<u64>, payload_bytes: usize) {
    let opened = open_local(data, 0);
    for sequence in sequences {
        opened.log.push(record(sequence, vec![sequence as u8; payload_bytes]), ()).unwrap();
    }
    opened.log.close();
}

fn segments(data: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
