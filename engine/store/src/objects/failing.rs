//! An object store that fails and tears, for tests.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

/// An [`ObjectStore`] for tests. Clones are the same store.
///
/// A call that fails may have done nothing, all of its work, or some of it: a torn put leaves the beginning of an object, a
/// listing ends midway, and a deletion whose answer was lost has deleted.
#[derive(Debug, Clone)]
pub(crate) struct FailingStore {
    objects: Arc<InMemory>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
struct Faults {
    random: fastrand::Rng,
    /// How many calls in a hundred fail.
    percent: u8,
    failed: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// Nothing is done.
    Refused,
    /// Some of it is done.
    Torn,
    /// All is done, and nobody is told.
    Unheard,
}

impl FailingStore {
    /// Works until told otherwise.
    pub(crate) fn new(seed: u64) -> Self {
        let faults = Faults { random: fastrand::Rng::with_seed(seed), percent: 0, failed: 0 };
        Self { objects: Arc::default(), faults: Arc::new(Mutex::new(faults)) }
    }

    /// Lets so many calls in a hundred fail from now on; with 100 it is away.
    pub(crate) fn fail(&self, percent: u8) {
        self.faults.lock().percent = percent;
    }

    /// Calls that failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.faults.lock().failed
    }

    /// Keys of all objects.
    pub(crate) async fn keys(&self) -> Vec<Path> {
        self.objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap()
    }

    fn fate(&self) -> Fate {
        let faults = &mut *self.faults.lock();
        if faults.random.u8(..100) >= faults.percent {
            return Fate::Done;
        }
        faults.failed += 1;
        // Who is away does nothing.
        let kinds = if faults.percent == 100 { 1 } else { 3 };
        [Fate::Refused, Fate::Torn, Fate::Unheard][faults.random.usize(..kinds)]
    }

    fn share(&self, all: usize) -> usize {
        self.faults.lock().random.usize(..=all)
    }
}

fn broken() -> Error {
    Error::Generic { store: "failing", source: "injected failure".into() }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing store")
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fate() {
            Fate::Done => self.objects.put_opts(key, payload, options).await,
            Fate::Refused => Err(broken()),
            Fate::Torn => {
                let whole: Bytes = payload.into();
                let some = whole.slice(..self.share(whole.len()));
                self.objects.put_opts(key, some.into(), options).await?;
                Err(broken())
            }
            Fate::Unheard => {
                self.objects.put_opts(key, payload, options).await?;
                Err(broken())
            }
        }
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if self.fate() != Fate::Done {
            return Err(broken());
        }
        let upload = self.objects.put_multipart_opts(key, options).await?;
        Ok(Box::new(FailingUpload { store: self.clone(), key: key.clone(), upload }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate() {
            Fate::Done => self.objects.get_opts(key, options).await,
            _ => Err(broken()),
        }
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.fate() {
            Fate::Done => self.objects.get_ranges(key, ranges).await,
            _ => Err(broken()),
        }
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |key: Result<Path>| {
            let store = store.clone();
            async move {
                let key = key?;
                match store.fate() {
                    Fate::Done => store.objects.delete(&key).await.map(|()| key),
                    Fate::Unheard => store.objects.delete(&key).await.and(Err(broken())),
                    Fate::Refused | Fate::Torn => Err(broken()),
                }
            }
        };
        keys.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.objects.list(prefix);
        match self.fate() {
            Fate::Done => listed,
            _ => {
                let some = self.share(4);
                listed.take(some).chain(futures::stream::iter([Err(broken())])).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.fate() {
            Fate::Done => self.objects.list_with_delimiter(prefix).await,
            _ => Err(broken()),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match self.fate() {
            Fate::Done => self.objects.copy_opts(from, to, options).await,
            _ => Err(broken()),
        }
    }
}

#[derive(Debug)]
struct FailingUpload {
    store: FailingStore,
    key: Path,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for FailingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.store.fate() {
            Fate::Done => self.upload.put_part(data),
            _ => futures::future::ready(Err(broken())).boxed(),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.store.fate() {
            Fate::Done => self.upload.complete().await,
            Fate::Refused => Err(broken()),
            Fate::Unheard => self.upload.complete().await.and(Err(broken())),
            Fate::Torn => {
                self.upload.complete().await?;
                let whole = self.store.objects.get(&self.key).await?.bytes().await?;
                let some = whole.slice(..self.store.share(whole.len()));
                self.store.objects.put(&self.key, some.into()).await?;
                Err(broken())
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        match self.store.fate() {
            Fate::Done => self.upload.abort().await,
            _ => Err(broken()),
        }
    }
}
