//! Which moment a query sees: one view of the store for all its tables, whatever comes while it runs.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use tollgate_store::View;

/// Where the rows are.
pub(crate) trait Views: Send + Sync + 'static {
    /// Everything that is kept now.
    fn view(&self) -> Arc<View>;

    /// Reads sealed files, where there can be any.
    fn objects(&self) -> Option<Arc<dyn ObjectStore>>;
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
struct Moment(Arc<View>);

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
        let moment = Arc::new(Moment(source.0.view()));
        state.config_mut().set_extension(moment);
    }
    state
}

/// What the tables of this session show.
pub(super) fn view(session: &dyn Session) -> Arc<View> {
    let config = session.config();
    let given = config.get_extension::<Moment>().map(|moment| Arc::clone(&moment.0));
    given.or_else(|| config.get_extension::<Source>().map(|source| source.0.view())).unwrap_or_default()
}
