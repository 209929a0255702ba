//! Checks a directory that an engine may be using: nothing is changed, and what the engine replaces meanwhile is no fault.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use tokio::runtime::Handle;

use super::{Checker, Fault, Progress, Verified, disagreements};
use crate::aside;
use crate::manifest::{Catalog, Manifest};
use crate::objects::Objects;
use crate::sealed::{ASIDE, MANIFEST, TABLES, elsewhere, is_ours, sealed_file};
use crate::{Marks, Position, SealedFile, SealedOptions, StoreError, TableSpec};

/// How often files are looked for that have come in the place of others while those were checked.
const ROUNDS_MAX: usize = 3;

/// The sealed files of a directory as of one moment, for reading only.
#[derive(Debug, Clone)]
pub struct Inspection {
    inspected: Arc<Inspected>,
}

#[derive(Debug)]
struct Inspected {
    options: SealedOptions,
    tables: Vec<TableSpec>,
    objects: Objects,
    /// Where the manifest was.
    manifest: PathBuf,
    catalog: Catalog,
}

impl Inspection {
    /// Reads which files there are. An engine that uses the directory is not disturbed.
    ///
    /// # Errors
    /// When the manifest is damaged, of a newer version or another engine's; or when the files are in another place.
    pub async fn open(options: SealedOptions, tables: Vec<TableSpec>) -> Result<Self, StoreError> {
        let runtime = Handle::current();
        let open = tokio::task::spawn_blocking(move || Inspected::open(options, tables, runtime));
        let inspected = open.await.map_err(|_| StoreError::Stopping)??;
        Ok(Self { inspected: Arc::new(inspected) })
    }

    /// The last record whose rows are in files, and the marks as of that record.
    #[must_use]
    pub fn sealed(&self) -> (Position, &Marks) {
        let catalog = &self.inspected.catalog;
        (catalog.sealed_through, &catalog.marks)
    }

    /// As [`Sealed::verify`](crate::Sealed::verify). A file that is no longer listed when it was found wanting is counted as
    /// vanished, and what came in its place is checked.
    ///
    /// # Errors
    /// [`StoreError::Stopping`] only: what cannot be read is a [`Fault`].
    pub async fn verify(&self, mut progress: impl FnMut(Progress) + Send + 'static) -> Result<Verified, StoreError> {
        let inspected = Arc::clone(&self.inspected);
        let verify = tokio::task::spawn_blocking(move || inspected.verify(&mut progress));
        verify.await.map_err(|_| StoreError::Stopping)
    }
}

impl Inspected {
    fn open(options: SealedOptions, tables: Vec<TableSpec>, runtime: Handle) -> Result<Self, StoreError> {
        let disk = Arc::clone(&options.disk);
        let objects = match options.remote.clone() {
            Some(remote) => Objects::remote(disk, remote, runtime),
            None => Objects::local(disk, &options.dir, runtime)?,
        };
        let dir = options.dir.join(MANIFEST);
        let found = Manifest::peek(options.disk.as_ref(), &dir, &options.engine)?;
        let (manifest, catalog) = found.unwrap_or_else(|| (dir.clone(), Catalog::default()));
        if catalog.place.as_ref().is_some_and(|recorded| *recorded != objects.place()) {
            let present = objects.list(TABLES).map(|present| present.into_iter().collect()).ok();
            if let Some(error) = elsewhere(&catalog, &objects.place(), present.as_ref(), &dir) {
                return Err(error);
            }
        }
        Ok(Self { options, tables, objects, manifest, catalog })
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Verified {
        let faults = disagreements(&self.catalog, &self.manifest);
        let mut verified = Verified { faults, sealed_through: self.catalog.sealed_through, ..Verified::default() };
        let (mut checked, mut newest) = (HashSet::new(), None);
        for _ in 0..ROUNDS_MAX {
            let vanished = verified.vanished;
            let catalog = newest.as_ref().unwrap_or(&self.catalog);
            self.check_listed(catalog, &mut checked, &mut verified, progress);
            match self.newest() {
                Ok(catalog) => {
                    verified.sealed_through = catalog.sealed_through;
                    newest = Some(catalog);
                }
                Err(fault) => {
                    verified.faults.push(fault);
                    break;
                }
            }
            if verified.vanished == vanished {
                break;
            }
        }
        verified.faults.extend(self.strangers());
        verified
    }

    /// Checks the files that are listed and were not checked before.
    fn check_listed(
        &self,
        catalog: &Catalog,
        checked: &mut HashSet<Path>,
        verified: &mut Verified,
        progress: &mut dyn FnMut(Progress),
    ) {
        let files: Vec<SealedFile> = catalog
            .files
            .values()
            // Another configuration may know the table.
            .filter_map(|entry| {
                let table = self.tables.iter().position(|table| table.name == entry.table)?;
                Some(sealed_file(table, entry))
            })
            .filter(|file| checked.insert(file.key.clone()))
            .collect();
        verified.progress.files_all += files.len();
        verified.progress.bytes_all += files.iter().map(|file| file.bytes).sum::<u64>();
        let checker = Checker { objects: &self.objects, tables: &self.tables };
        for file in &files {
            match checker.check(file) {
                // Files are deleted when they are no longer listed, so that what is listed now was listed then.
                Err(_) if self.is_delisted(file) => {
                    verified.vanished += 1;
                    verified.progress.files_all -= 1;
                    verified.progress.bytes_all -= file.bytes;
                }
                Err(problem) => verified.note(file, Err(self.why_aside(file).unwrap_or(problem))),
                Ok(rows) => verified.note(file, Ok(rows)),
            }
            progress(verified.progress);
        }
    }

    fn newest(&self) -> Result<Catalog, Fault> {
        let dir = self.options.dir.join(MANIFEST);
        match Manifest::peek(self.options.disk.as_ref(), &dir, &self.options.engine) {
            Ok(found) => Ok(found.map(|(_, catalog)| catalog).unwrap_or_default()),
            Err(error) => Err(Fault { name: dir.display().to_string(), problem: error.to_string() }),
        }
    }

    fn is_delisted(&self, file: &SealedFile) -> bool {
        self.newest().is_ok_and(|catalog| !catalog.files.contains_key(file.key.as_ref()))
    }

    /// Why an engine has set a file aside, if one has.
    fn why_aside(&self, file: &SealedFile) -> Option<String> {
        let reason = aside::reason(self.options.disk.as_ref(), &file.key, &self.options.dir.join(ASIDE))?;
        Some(format!("it was set aside: {reason}"))
    }

    /// What somebody else put among our local files. In a remote store they are nobody's business.
    fn strangers(&self) -> Vec<Fault> {
        if self.options.remote.is_some() {
            return Vec::new();
        }
        let keys: BTreeSet<Path> = match self.objects.list(TABLES) {
            Ok(present) => present.into_iter().map(|(key, _)| key).collect(),
            Err(error) => return vec![Fault { name: TABLES.to_owned(), problem: error.to_string() }],
        };
        let strangers = keys.into_iter().filter(|key| !is_ours(key, &self.options.engine));
        strangers
            .map(|key| Fault { name: key.to_string(), problem: "this engine did not write it".to_owned() })
            .collect()
    }
}
