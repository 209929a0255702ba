//! Removes what is older or larger than a table keeps.

use std::sync::Arc;

use crate::manifest::Entry;
use crate::sealed::State;
use crate::{Retention, Sealed, SealedFile, StoreError};

impl Sealed {
    /// Takes files off the list whose newest row is too old, and the oldest ones while a table is too large. Returns the
    /// files that are no longer listed; they are deleted when nobody holds them.
    ///
    /// # Errors
    /// When the manifest cannot be written; nothing has changed then.
    pub async fn expire(&self, now_us: i64) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        self.blocking(move |state| state.expire(now_us)).await
    }
}

impl State {
    fn expire(&self, now_us: i64) -> Result<Vec<Arc<SealedFile>>, StoreError> {
        let _rewriting = self.rewriting.lock();
        let files = self.files.load_full();
        let tables = self.tables.iter().zip(files.iter());
        let expired: Vec<_> = tables.flat_map(|(table, files)| expired(table.retention, files, now_us)).collect();
        let mut remove: Vec<String> = expired.iter().map(|file| file.key.to_string()).collect();
        remove.extend(self.expired_unserved(now_us));
        if remove.is_empty() {
            return Ok(expired);
        }
        self.publish(Vec::new(), &expired, |_| Entry::Expire { remove })?;
        Ok(expired)
    }

    /// Listed files that are not there or were set aside, and would be too old by now.
    fn expired_unserved(&self, now_us: i64) -> Vec<String> {
        let served = self.files.load();
        let manifest = self.manifest.lock();
        let is_expired = |table: &crate::TableSpec, time_max_us: i64| {
            horizon_us(table.retention, now_us).is_some_and(|horizon_us| time_max_us < horizon_us)
        };
        let mut unserved = Vec::new();
        for (table, files) in self.tables.iter().zip(served.iter()) {
            let listed = manifest.catalog().files.values().filter(|entry| entry.table == table.name);
            let old = listed.filter(|entry| is_expired(table, entry.time_max_us));
            let gone = old.filter(|entry| !files.iter().any(|file| file.key.as_ref() == entry.key));
            unserved.extend(gone.map(|entry| entry.key.clone()));
        }
        unserved
    }
}

fn horizon_us(retention: Retention, now_us: i64) -> Option<i64> {
    let age_us = i64::try_from(retention.age?.as_micros()).unwrap_or(i64::MAX);
    Some(now_us.saturating_sub(age_us))
}

fn expired(retention: Retention, files: &[Arc<SealedFile>], now_us: i64) -> Vec<Arc<SealedFile>> {
    let mut files = files.to_vec();
    files.sort_by_key(|file| (file.time_max_us, file.positions));
    let horizon_us = horizon_us(retention, now_us).unwrap_or(i64::MIN);
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let bytes_max = retention.bytes.unwrap_or(u64::MAX);
    let is_expired = |file: &Arc<SealedFile>| {
        let is_old = file.time_max_us < horizon_us || bytes > bytes_max;
        bytes -= if is_old { file.bytes } else { 0 };
        is_old
    };
    let mut is_expired = is_expired;
    files.retain(|file| is_expired(file));
    files
}

#[cfg(test)]
mod tests;
