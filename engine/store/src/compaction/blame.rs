//! Finds the file because of which a rewriting or a query failed, so that it does not fail for ever.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::plan::Job;
use super::setbacks;
use crate::sealed::State;
use crate::verify::Unserved;
use crate::{SealedFile, StoreError};

impl State {
    /// Sets aside the input that is not there, is not what was written, or could not be read for the second time, if that is
    /// why a rewriting failed. Says whether it did.
    pub(super) fn blame(&self, job: &Job, error: &StoreError) -> bool {
        let Some(file) = job.inputs.iter().find(|file| self.names(error, file)) else { return false };
        if !self.examine(file) {
            return false;
        }
        self.setbacks.lock().forget(job.directory(), [&file.key]);
        true
    }

    /// Stops serving a file that was read in vain, if that is because of what it is. Says whether it did.
    pub(crate) fn examine(&self, file: &Arc<SealedFile>) -> bool {
        if !self.is_listed(file) {
            // Somebody else was faster.
            return self.is_aside(file);
        }
        match self.fault(file) {
            None => return false,
            Some(Fault::NotForUs(reason)) => drop(self.pass_over(file, &reason)),
            Some(Fault::Damaged(reason)) => {
                if let Err(error) = self.set_aside(file, &reason) {
                    tracing::error!(%error, key = %file.key, reason, "a damaged file is not served, but could not be moved away");
                }
            }
        }
        true
    }

    pub(crate) fn is_listed(&self, file: &Arc<SealedFile>) -> bool {
        let files = self.files.load();
        files.get(file.table).is_some_and(|files| files.iter().any(|listed| Arc::ptr_eq(listed, file)))
    }

    /// Whether it is served no more because of what it is.
    pub(crate) fn is_aside(&self, file: &SealedFile) -> bool {
        self.aside.lock().iter().any(|aside| aside.name == file.key.as_ref())
    }

    fn names(&self, error: &StoreError, file: &SealedFile) -> bool {
        match error {
            StoreError::Parquet { action: "read", key, .. } => file.key.as_ref() == key,
            StoreError::Io { action: "open", path, .. } => self.objects.path(&file.key).as_ref() == Some(path),
            _ => false,
        }
    }

    /// Why a file that could not be read must not be tried again; `None` when that may have been the machine or the network.
    fn fault(&self, file: &SealedFile) -> Option<Fault> {
        let is_local = self.objects.path(&file.key).is_some();
        let checker = self.checker();
        let problem = match checker.damage(file) {
            // A short answer of a remote store need not be the object's fault.
            Ok(Some(problem)) if is_local || matches!(checker.damage(file), Ok(Some(_))) => {
                return Some(Fault::Damaged(problem));
            }
            Ok(None) => match checker.label(file) {
                Ok(()) if is_local => match checker.check(file) {
                    Err(problem) => problem,
                    Ok(_) => {
                        self.setbacks.lock().was_read(&file.key);
                        return None;
                    }
                },
                Err(Unserved::Newer(problem)) => return Some(Fault::NotForUs(problem)),
                Err(Unserved::Foreign(problem)) => return Some(Fault::Damaged(problem)),
                _ => return None,
            },
            Err(_) if matches!(self.objects.is_absent(&file.key), Ok(true)) => {
                return Some(Fault::Damaged("it is not there".to_owned()));
            }
            Err(error) if is_local && !is_of_machine(&error) => format!("it cannot be read: {error}"),
            // A store that is away, or was: its files are good for all that is known.
            _ => return None,
        };
        let is_again = self.setbacks.lock().is_unread_again(&file.key, Instant::now(), setbacks::WAIT);
        is_again.then_some(Fault::Damaged(problem))
    }
}

/// Why a file is not to be read again.
enum Fault {
    Damaged(String),
    /// It is what was written, by a newer version.
    NotForUs(String),
}

/// Whether any other file would have failed, too.
fn is_of_machine(error: &io::Error) -> bool {
    let is_short = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
    is_short || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted)
}
