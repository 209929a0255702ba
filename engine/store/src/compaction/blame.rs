//! Finds the file because of which a rewriting failed, so that it does not fail for ever.

use std::io;

use super::plan::Job;
use crate::sealed::State;
use crate::{SealedFile, StoreError};

impl State {
    /// Sets aside the input that is not there, is not what was written, or could not be read for the second time, if that is
    /// why a rewriting failed. Says whether it did.
    pub(super) fn blame(&self, job: &Job, error: &StoreError) -> bool {
        let Some(file) = job.inputs.iter().find(|file| self.names(error, file)) else { return false };
        let Some(reason) = self.fault(file) else { return false };
        if let Err(error) = self.set_aside(file, &reason) {
            tracing::error!(%error, key = %file.key, reason, "a damaged file is not served, but could not be moved away");
        }
        self.setbacks.lock().forget(job.directory(), [&file.key]);
        true
    }

    fn names(&self, error: &StoreError, file: &SealedFile) -> bool {
        match error {
            StoreError::Parquet { action: "read", key, .. } => file.key.as_ref() == key,
            StoreError::Io { action: "open", path, .. } => self.objects.path(&file.key).as_ref() == Some(path),
            _ => false,
        }
    }

    /// Why a file that could not be read must not be tried again; `None` when that may have been the machine or the network.
    fn fault(&self, file: &SealedFile) -> Option<String> {
        let is_local = self.objects.path(&file.key).is_some();
        let problem = match self.damage(file) {
            Ok(Some(problem)) => return Some(problem),
            Ok(None) if is_local => self.check(file).err()?,
            Err(_) if matches!(self.objects.is_absent(&file.key), Ok(true)) => {
                return Some("it is not there".to_owned());
            }
            Err(error) if is_local && !is_of_machine(&error) => format!("it cannot be read: {error}"),
            // A store that is away, or was: its files are good for all that is known.
            _ => return None,
        };
        self.setbacks.lock().is_unread_again(&file.key).then_some(problem)
    }
}

/// Whether any other file would have failed, too.
fn is_of_machine(error: &io::Error) -> bool {
    let is_short = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
    is_short || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted)
}
