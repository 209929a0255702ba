//! The policies in force, and what became of the newest change to their directory.

mod load;
mod policy_tables;
mod sets;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::Serialize;
use tollgate_policies::{Compiled, Diagnostics, Mode, Sources};

use self::load::load_aside;
pub(crate) use self::load::{Loaded, load};
pub(crate) use self::policy_tables::{EntitiesTable, PoliciesTable};
pub(crate) use self::sets::{PolicySets, SetError};
use crate::clock::WallTime;
use crate::config::EngineConfig;
use crate::{kept, lists, sql, tables};

/// A change that was refused whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// When.
    pub at: WallTime,
    /// Everything that is wrong with it.
    pub diagnostics: Diagnostics,
}

/// Policies in force, and the change that was refused if the newest one was.
#[derive(Default)]
pub(crate) struct PolicyBook {
    loaded: ArcSwapOption<Loaded>,
    refused: Mutex<Option<Refused>>,
}

impl PolicyBook {
    pub(crate) fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.load_full()
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.lock().clone()
    }

    pub(crate) fn accept(&self, loaded: Arc<Loaded>) {
        self.loaded.store(Some(loaded));
        *self.refused.lock() = None;
    }

    pub(crate) fn refuse(&self, diagnostics: Diagnostics) {
        *self.refused.lock() = Some(Refused { at: WallTime::now(), diagnostics });
    }
}

/// What a directory of policies holds when it is right.
#[derive(Debug)]
pub struct PolicyReport {
    /// What was read.
    pub sources: Sources,
    /// What came of it, with what is probably not meant.
    pub compiled: Compiled,
}

/// Checks a directory of policies as a running engine would, without one.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_policies(dir: &Path, mode: &Mode) -> Result<PolicyReport, Diagnostics> {
    let sources = Sources::read(dir)?;
    let mut compiled = check_sources(&sources, mode)?;
    compiled.warnings.0.extend(lists::check_files(dir, &compiled.lists));
    Ok(PolicyReport { sources, compiled })
}

/// Checks what was read as a running engine would. Blocks for as long as that takes.
pub(crate) fn check_sources(sources: &Sources, mode: &Mode) -> Result<Compiled, Diagnostics> {
    let failed = |error: String| {
        Diagnostics(vec![tollgate_policies::Diagnostic::error("TG0500", "", format!("cannot check: {error}"))])
    };
    // A thread and a runtime of its own: the caller may stand in a runtime already, where blocking is not allowed.
    let check = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        runtime.block_on(check(sources, mode, &failed))
    };
    std::thread::scope(|scope| {
        scope.spawn(check).join().unwrap_or_else(|_| Err(failed("the check broke off".to_owned())))
    })
}

async fn check(
    sources: &Sources,
    mode: &Mode,
    failed: &impl Fn(String) -> Diagnostics,
) -> Result<Compiled, Diagnostics> {
    let config = EngineConfig::default();
    let tables = sql::Tables {
        stored: kept::specs(&config.retention).into(),
        views: Arc::new(sql::Nothing),
        state: tables::Sources::default().tables(),
    };
    let means = sql::Means { bytes_max: config.query_bytes_max, partitions: 1, spill: None };
    let context = sql::session(tables, &means).await;
    let context = context.map_err(|error| failed(error.to_string()))?;
    load_aside(&context, sources, mode, config.signals_every).await
}
