//! Policy sets by name: the one in force, and those that are only tried on recorded requests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_policies::tools::Judge;
use tollgate_policies::{Compiled, Diagnostics, Mode, Sources};

use super::{PolicyBook, check_sources};
use crate::suggest::closest;

/// The name of the set in force.
const LIVE: &str = "live";
/// Problems of a set that an error names.
const PROBLEMS_SHOWN: usize = 3;

/// Every set that has a name. Bounded by the configuration: each holds what its directory held when somebody last asked.
pub(crate) struct PolicySets {
    book: Arc<PolicyBook>,
    mode: Mode,
    live: Mutex<Option<Arc<Judge>>>,
    tried: BTreeMap<String, Tried>,
}

/// A directory that is read when somebody asks.
struct Tried {
    dir: PathBuf,
    /// Held while a change is compiled, so that queries which come together compile it once.
    made: Mutex<Option<Made>>,
}

/// What a directory held, and what came of it.
struct Made {
    sources: Sources,
    judge: Result<Arc<Judge>, Diagnostics>,
}

/// Why there is no set of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("unknown policy set `{name}`")]
    Unknown { name: String, meant: Option<String>, known: Vec<String> },
    #[error("the policy set `{name}` in `{dir}` is refused: {problems}")]
    Refused { name: String, dir: String, problems: String },
    #[error("no policies are in force yet")]
    NoneInForce,
    #[error("the policy set `{name}` cannot be judged by: {problem}")]
    Unreadable { name: String, problem: String },
}

impl SetError {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Unknown { meant: Some(meant), known, .. } => {
                Some(format!("did you mean `{meant}`? There are `{}`", known.join("`, `")))
            }
            Self::Unknown { known, .. } => {
                Some(format!("there are `{}`; `policy_sets` in tollgate.yaml names more", known.join("`, `")))
            }
            Self::Refused { dir, .. } => Some(format!("`tollgate policy check {dir}` says everything")),
            Self::NoneInForce | Self::Unreadable { .. } => None,
        }
    }
}

impl PolicySets {
    pub(crate) fn new(book: Arc<PolicyBook>, mode: Mode, dirs: &BTreeMap<String, PathBuf>) -> Self {
        let tried = dirs.iter().map(|(name, dir)| (name.clone(), Tried { dir: dir.clone(), made: Mutex::default() }));
        Self { book, mode, live: Mutex::default(), tried: tried.collect() }
    }

    /// The set of this name as it is now. Blocks while a directory that has changed is read and compiled.
    pub(crate) fn judge(&self, name: &str) -> Result<Arc<Judge>, SetError> {
        if name == LIVE {
            return self.live();
        }
        let tried = self.tried.get(name).ok_or_else(|| {
            let known: Vec<_> = std::iter::once(LIVE.to_owned()).chain(self.tried.keys().cloned()).collect();
            let meant = closest(name, known.iter().map(String::as_str)).map(str::to_owned);
            SetError::Unknown { name: name.to_owned(), meant, known }
        })?;
        let refused = |problems: &Diagnostics| SetError::Refused {
            name: name.to_owned(),
            dir: tried.dir.display().to_string(),
            problems: shown(problems),
        };
        let sources = Sources::read(&tried.dir).map_err(|problems| refused(&problems))?;
        let mut made = tried.made.lock();
        if let Some(made) = made.as_ref().filter(|made| made.sources == sources) {
            return made.judge.clone().map_err(|problems| refused(&problems));
        }
        let judge = match check_sources(&sources, &self.mode) {
            Ok(compiled) => Ok(new(name, &compiled)?),
            Err(problems) => Err(problems),
        };
        *made = Some(Made { sources, judge: judge.clone() });
        judge.map_err(|problems| refused(&problems))
    }

    fn live(&self) -> Result<Arc<Judge>, SetError> {
        let loaded = self.book.loaded().ok_or(SetError::NoneInForce)?;
        let mut live = self.live.lock();
        match live.as_ref().filter(|judge| judge.digest() == loaded.compiled.digest) {
            Some(judge) => Ok(Arc::clone(judge)),
            None => Ok(Arc::clone(live.insert(new(LIVE, &loaded.compiled)?))),
        }
    }
}

fn new(name: &str, compiled: &Compiled) -> Result<Arc<Judge>, SetError> {
    let unreadable = |problem| SetError::Unreadable { name: name.to_owned(), problem };
    Judge::new(compiled).map(Arc::new).map_err(unreadable)
}

fn shown(problems: &Diagnostics) -> String {
    let first: Vec<_> = problems.0.iter().take(PROBLEMS_SHOWN).map(ToString::to_string).collect();
    let more = problems.0.len().saturating_sub(PROBLEMS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join("; "))
}
