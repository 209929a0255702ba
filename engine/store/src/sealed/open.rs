//! Opens what is there: checks that every listed file is, and removes what a crash left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{ASIDE, Files, MANIFEST, Name, Opened, Sealed, SealedOptions, State, TABLES, sealed_file};
use crate::aside::{self, Aside};
use crate::manifest::{Catalog, FileEntry, Manifest};
use crate::objects::{Objects, Place};
use crate::{StoreError, TableSpec};

impl Sealed {
    /// Opens the sealed files. Missing and truncated files are set aside and reported, the rest is served; files that no
    /// entry of the manifest lists are removed if this engine wrote them.
    ///
    /// A remote store that does not answer is no reason not to start: nothing is checked and nothing removed then.
    ///
    /// # Errors
    /// When the manifest is damaged, of a newer version or another engine's, or is missing though there are files; or when
    /// the files are in another place.
    pub async fn open(options: SealedOptions, tables: Vec<TableSpec>) -> Result<(Self, Opened), StoreError> {
        let runtime = Handle::current();
        let open = tokio::task::spawn_blocking(move || open(options, tables, runtime));
        open.await.map_err(|_| StoreError::Stopping)?
    }
}

fn open(options: SealedOptions, tables: Vec<TableSpec>, runtime: Handle) -> Result<(Sealed, Opened), StoreError> {
    let disk = Arc::clone(&options.disk);
    let objects = match options.remote.clone() {
        Some(remote) => Objects::remote(Arc::clone(&disk), remote, runtime),
        None => Objects::local(Arc::clone(&disk), &options.dir, runtime)?,
    };
    let is_local = options.remote.is_none();
    let present = match objects.list(TABLES) {
        Ok(present) => Some(present.into_iter().collect::<BTreeMap<Path, u64>>()),
        Err(error) if is_local => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "sealed files could not be listed and are not checked");
            None
        }
    };
    let dir = options.dir.join(MANIFEST);
    let mut manifest = match Manifest::open(Arc::clone(&disk), &dir, Arc::clone(&options.engine))? {
        Some(manifest) => manifest,
        None => {
            let mut keys = present.iter().flat_map(BTreeMap::keys);
            if let Some(key) = keys.find(|key| is_ours(key, &options.engine)) {
                let problem = format!("no manifest is in it, though there are sealed files such as `{key}`");
                return Err(StoreError::Damaged { path: dir, problem });
            }
            Manifest::create(Arc::clone(&disk), &dir, Arc::clone(&options.engine), objects.place())?
        }
    };
    check_place(&mut manifest, objects.place(), present.as_ref(), &dir)?;
    let mut check = Check { options: &options, objects: &objects, aside: Vec::new() };
    let files = check.files(&tables, manifest.catalog(), present.as_ref())?;
    if let Some(present) = &present {
        check.leftovers(manifest.catalog(), present)?;
    }
    let aside = check.aside;
    let (sealed_through, marks) = (manifest.catalog().sealed_through, manifest.catalog().marks.clone());
    let state = State {
        tables,
        objects,
        files: ArcSwap::from_pointee(files),
        aside: Mutex::new(aside.clone()),
        rewriting: Mutex::default(),
        setbacks: Mutex::default(),
        retired: Mutex::default(),
        doubtful: Mutex::default(),
        generation: AtomicU64::new(manifest.catalog().generation),
        manifest: Mutex::new(manifest),
        options,
    };
    Ok((Sealed { state: Arc::new(state) }, Opened { sealed_through, marks, aside }))
}

/// Refuses another place than the one that the manifest says, unless all files are there.
///
/// Otherwise a wrong configuration would make all of them count as missing, and new ones go elsewhere.
fn check_place(
    manifest: &mut Manifest,
    asked: Place,
    present: Option<&BTreeMap<Path, u64>>,
    dir: &std::path::Path,
) -> Result<(), StoreError> {
    let catalog = manifest.catalog();
    match &catalog.place {
        Some(recorded) if *recorded == asked => return Ok(()),
        Some(recorded) => {
            if let Some(error) = elsewhere(catalog, &asked, present, dir) {
                return Err(error);
            }
            let files = catalog.files.len();
            tracing::warn!(%recorded, %asked, files, "all sealed files are in another place than before: that is where they are from now on");
        }
        None => {}
    }
    // Until it can be written, what the manifest says stays as it is.
    match manifest.settle_in(asked) {
        Err(error) if error.is_retryable() => {
            tracing::warn!(%error, "where sealed files are could not be written down: it is with the next entry");
            Ok(())
        }
        settled => settled,
    }
}

/// Why files are not where they were asked for; `None` when all of them are.
pub(crate) fn elsewhere(
    catalog: &Catalog,
    asked: &Place,
    present: Option<&BTreeMap<Path, u64>>,
    dir: &std::path::Path,
) -> Option<StoreError> {
    let is_there = |(key, entry): &(&String, &FileEntry)| {
        present.is_some_and(|present| present.get(&Path::from(key.as_str())) == Some(&entry.bytes))
    };
    let (files, missing) = (catalog.files.len(), catalog.files.iter().filter(|file| !is_there(file)).count());
    let recorded = catalog.place.as_ref().filter(|_| missing > 0)?.to_string();
    Some(StoreError::Elsewhere { path: dir.to_owned(), recorded, asked: asked.to_string(), missing, files })
}

/// Compares what is listed with what is there.
struct Check<'a> {
    options: &'a SealedOptions,
    objects: &'a Objects,
    aside: Vec<Aside>,
}

impl Check<'_> {
    /// The listed files that can be served.
    fn files(
        &mut self,
        tables: &[TableSpec],
        catalog: &Catalog,
        present: Option<&BTreeMap<Path, u64>>,
    ) -> Result<Files, StoreError> {
        let mut files: Files = vec![Vec::new(); tables.len()];
        for entry in catalog.files.values() {
            // Another configuration may know the table.
            let Some(table) = tables.iter().position(|table| table.name == entry.table) else { continue };
            let file = sealed_file(table, entry);
            let dir = self.options.dir.join(ASIDE);
            let known = aside::reason(self.options.disk.as_ref(), &file.key, &dir);
            if let Some(reason) = known.as_ref().filter(|_| self.options.remote.is_some()) {
                let note = format!(
                    "{reason}; to serve it all the same, remove `{}.reason`",
                    dir.join(file.key.filename().unwrap_or_default()).display()
                );
                self.note(&file.key, &note, entry.rows, None);
                continue;
            }
            match present.map(|present| present.get(&file.key)) {
                Some(None) => {
                    let reason = known.unwrap_or_else(|| "it is not there".to_owned());
                    tracing::error!(key = entry.key, rows = entry.rows, reason, "a sealed file is missing");
                    self.note(&file.key, &reason, entry.rows, None);
                }
                Some(Some(bytes)) if *bytes != entry.bytes => {
                    let reason = format!("it has {bytes} bytes, {} were written", entry.bytes);
                    self.set_aside(&file.key, &reason, entry.rows)?;
                }
                _ => files[table].push(Arc::new(file)),
            }
        }
        files.iter_mut().for_each(|files| files.sort_by_key(|file| (file.positions, file.time_min_us)));
        Ok(files)
    }

    /// What is there and not listed: removed if it is ours, moved away if somebody put it into our directory. What others
    /// keep in the same remote store is theirs.
    fn leftovers(&mut self, catalog: &Catalog, present: &BTreeMap<Path, u64>) -> Result<(), StoreError> {
        for key in present.keys().filter(|key| !catalog.files.contains_key(key.as_ref())) {
            if is_ours(key, &self.options.engine) {
                match self.objects.remove(key) {
                    Ok(()) => tracing::info!(%key, "removed a file that a crash left behind"),
                    // Nothing lists it: it does no harm until the next start.
                    Err(error) => tracing::warn!(%error, "a file that a crash left behind could not be removed"),
                }
            } else if self.options.remote.is_none() {
                self.set_aside(key, "this engine did not write it", 0)?;
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, key: &Path, reason: &str, rows: u64) -> Result<(), StoreError> {
        let moved_to = match self.objects.path(key) {
            Some(path) => {
                let dir = self.options.dir.join(ASIDE);
                aside::move_aside(self.options.disk.as_ref(), &path, &dir, reason)?
            }
            None => None,
        };
        self.note(key, reason, rows, moved_to);
        Ok(())
    }

    fn note(&mut self, key: &Path, reason: &str, rows: u64, moved_to: Option<std::path::PathBuf>) {
        self.aside.push(Aside { name: key.to_string(), reason: reason.to_owned(), rows, moved_to });
    }
}

pub(crate) fn is_ours(key: &Path, engine: &str) -> bool {
    Name::parse(key).is_some_and(|name| name.engine == engine)
}
