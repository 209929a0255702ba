//! CPU time of a process by the names of its threads.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::figures;

/// What is left of a process's time where its threads have ended.
const ENDED: &str = "(threads that ended)";

/// User and system time until now.
#[derive(Debug, Clone)]
pub(super) struct CpuByThread(BTreeMap<String, Duration>);

impl CpuByThread {
    pub(super) fn of(pid: u32) -> Self {
        let mut all: BTreeMap<String, Duration> = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned();
            *all.entry(name).or_default() += figures::cpu_in(&task.path().join("stat"));
        }
        let running: Duration = all.values().sum();
        all.insert(ENDED.to_owned(), figures::cpu(pid).saturating_sub(running));
        Self(all)
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        let used = |(name, cpu): (&String, &Duration)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), cpu.saturating_sub(before))
        };
        Self(self.0.iter().map(used).collect())
    }

    pub(super) fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// The busiest first; idle ones are left out.
    pub(super) fn by_thread(&self) -> Vec<(&str, Duration)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, cpu)| (name.as_str(), *cpu)).collect();
        all.retain(|(_, cpu)| *cpu > self.total() / 1_000);
        all.sort_by_key(|(_, cpu)| std::cmp::Reverse(*cpu));
        all
    }
}
