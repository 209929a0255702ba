//! What an engine is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tollgate_policies::Mode;
use tollgate_store::{Disk, Durability};

use crate::admission::DecodeLimits;
use crate::kept::{RemoteConfig, RetentionConfig, SamplingConfig};
use crate::lists::FetchList;

/// Configuration of an engine. The defaults keep its data in `./data` and read policies from `./policies`.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Directory for what outlives a restart: rows, identity, versions, members. One engine at a time uses it.
    pub data: PathBuf,
    /// Directory of policies, watched.
    pub policies: PathBuf,
    /// Directories of policies by name, which SQL's `authorize` tries on recorded requests. Nothing enforces them.
    pub policy_sets: BTreeMap<String, PathBuf>,
    /// Whether policies are enforced or only observed.
    pub mode: Mode,
    /// Most that one batch may hold.
    pub admission: DecodeLimits,
    /// Most bytes of rows in memory: half for what is not sealed yet, and acknowledgements wait while that is full; half for
    /// recent rows that are sealed, of which the oldest make room.
    pub hot_bytes_max: usize,
    /// Rows are sealed at this age.
    pub seal_after: Duration,
    /// Rows are sealed when there are so many.
    pub seal_rows: u64,
    /// When a request counts as kept.
    pub durability: Durability,
    /// How long rows are kept.
    pub retention: RetentionConfig,
    /// Where sealed files go instead of the data directory.
    pub remote: Option<RemoteConfig>,
    /// Which raw rows stay once they are counted; without rules, all.
    pub sampling: Vec<SamplingConfig>,
    /// How local files are reached, where tests put something else.
    pub disk: Option<Arc<dyn Disk>>,
    /// How lists are fetched from URLs; without it there are only those in files.
    pub lists: Option<Arc<dyn FetchList>>,
    /// Most bytes that all queries together may take.
    pub query_bytes_max: usize,
    /// How long a query may take, including the time that its reader takes.
    pub query_timeout: Duration,
    /// Most rows that a query may return.
    pub query_rows_max: usize,
    /// Threads that one query may use: by default one for each core, 2 to 8, so that queries side by side find memory to sort in.
    pub query_threads: usize,
    /// Rhythm of the signal files that name none.
    pub signals_every: Duration,
    /// How long a lease holds without contact.
    pub lease_ttl: Duration,
    /// How often reporters send a sign of life.
    pub heartbeat: Duration,
    /// How often the policy directory is read even though no event said so, for file systems without events.
    pub policies_poll: Duration,
}

impl Default for EngineConfig {
    /// 1 GiB of rows for 7 days; queries get 512 MiB, 30 s and 1,000,000 rows; leases hold for 10 s.
    fn default() -> Self {
        Self {
            data: PathBuf::from("./data"),
            policies: PathBuf::from("./policies"),
            policy_sets: BTreeMap::new(),
            mode: Mode::default(),
            admission: DecodeLimits::default(),
            hot_bytes_max: 1 << 30,
            seal_after: Duration::from_secs(60),
            seal_rows: 1_000_000,
            durability: Durability::default(),
            retention: RetentionConfig::default(),
            remote: None,
            sampling: Vec::new(),
            disk: None,
            lists: None,
            query_bytes_max: 512 << 20,
            query_timeout: Duration::from_secs(30),
            query_rows_max: 1_000_000,
            query_threads: std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8)),
            signals_every: Duration::from_secs(1),
            lease_ttl: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            policies_poll: Duration::from_secs(2),
        }
    }
}
