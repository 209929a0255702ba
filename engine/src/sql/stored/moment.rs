//! Which moment a query sees: one view of the store for all its tables, whatever comes while it runs.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionConfig;
use futures::future::{BoxFuture, FutureExt as _};
use object_store::ObjectStore;
use parking_lot::Mutex;
use tollgate_store::{SealedFile, View};

/// Where the rows are.
pub(crate) trait Views: Send + Sync + 'static {
    /// Everything that is kept now.
    fn view(&self) -> Arc<View>;

    /// Reads sealed files, where there can be any.
    fn objects(&self) -> Option<Arc<dyn ObjectStore>>;

    /// Where a file is, when it is on this machine.
    fn path(&self, _file: &SealedFile) -> Option<PathBuf> {
        None
    }

    /// Looks at files that a query read in vain. Says whether one of them is no longer served.
    fn examine(&self, _files: Vec<Arc<SealedFile>>) -> BoxFuture<'static, bool> {
        futures::future::ready(false).boxed()
    }
}

/// No rows, where only policies are checked.
pub(crate) struct Nothing;

impl Views for Nothing {
    fn view(&self) -> Arc<View> {
        Arc::default()
    }

    fn objects(&self) -> Option<Arc<dyn ObjectStore>> {
        None
    }
}

/// What the session carries: where views come from, and the one that a query was given.
struct Source(Arc<dyn Views>);
pub(super) struct Moment {
    view: Arc<View>,
    /// The files that were opened. Bound: the files of the view, each once a partition.
    opened: Mutex<Vec<Arc<SealedFile>>>,
}

impl Moment {
    pub(super) fn new(view: Arc<View>) -> Arc<Self> {
        Arc::new(Self { view, opened: Mutex::default() })
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Notes that a file is read.
    pub(super) fn open(&self, file: Arc<SealedFile>) {
        self.opened.lock().push(file);
    }
}

/// A configuration whose sessions read from `views`.
pub(in crate::sql) fn with_views(config: SessionConfig, views: Arc<dyn Views>) -> SessionConfig {
    config.with_extension(Arc::new(Source(views)))
}

/// The session for one query that begins now: all tables that are read through it show this moment.
///
/// Whoever runs the query holds the state until the last row is read, because files that it reads are kept for as long as
/// somebody holds a view that has them.
pub(crate) fn at_once(mut state: SessionState) -> SessionState {
    if let Some(source) = state.config().get_extension::<Source>() {
        let moment = Moment::new(source.0.view());
        state.config_mut().set_extension(moment);
    }
    state
}

/// Where a file is that this session reads, when it is on this machine.
pub(super) fn path(session: &dyn Session, file: &SealedFile) -> Option<PathBuf> {
    session.config().get_extension::<Source>()?.0.path(file)
}

/// What the tables of this session show.
pub(super) fn moment(session: &dyn Session) -> Arc<Moment> {
    let config = session.config();
    let given = config.get_extension::<Moment>();
    given.unwrap_or_else(|| {
        Moment::new(config.get_extension::<Source>().map(|source| source.0.view()).unwrap_or_default())
    })
}

/// Looks at the files that a query has opened, after reading one of them has failed. Says whether one is no longer served: then
/// the same query is answered from the rest.
pub(in crate::sql) async fn examine(config: &SessionConfig) -> bool {
    let (Some(moment), Some(source)) = (config.get_extension::<Moment>(), config.get_extension::<Source>()) else {
        return false;
    };
    let mut opened = std::mem::take(&mut *moment.opened.lock());
    opened.sort_unstable_by_key(Arc::as_ptr);
    opened.dedup_by(|left, right| Arc::ptr_eq(left, right));
    source.0.examine(opened).await
}
