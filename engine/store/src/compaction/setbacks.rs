//! What went wrong in compaction, so that one directory does not keep the others waiting.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use object_store::path::Path;

/// How long a directory is left alone after its files could not be rewritten.
pub(super) const WAIT: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });

/// Directories and files that made a rewriting fail.
///
/// Bound: the directories and files there are. A rewriting that goes well takes them out.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    deferred: HashMap<String, Instant>,
    /// Since when a file could not be read.
    unread: HashMap<Path, Instant>,
}

impl Setbacks {
    /// Leaves a directory alone for a while.
    pub(super) fn defer(&mut self, directory: &str, until: Instant) {
        self.deferred.insert(directory.to_owned(), until);
    }

    pub(super) fn is_deferred(&self, directory: &str, now: Instant) -> bool {
        self.deferred.get(directory).is_some_and(|until| now < *until)
    }

    /// Notes that a file could not be read; says whether that was so a while ago, too. What fails for a moment, such as a mount that
    /// is away, fails for many queries at once.
    pub(super) fn is_unread_again(&mut self, file: &Path, now: Instant) -> bool {
        let since = *self.unread.entry(file.clone()).or_insert(now);
        since < now && now.duration_since(since) >= WAIT
    }

    /// A file was read after all.
    pub(super) fn was_read(&mut self, file: &Path) {
        self.unread.remove(file);
    }

    /// Forgets a directory, whose files were rewritten, and these files.
    pub(super) fn forget<'a>(&mut self, directory: &str, files: impl IntoIterator<Item = &'a Path>) {
        self.deferred.remove(directory);
        for file in files {
            self.unread.remove(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_waits_until_its_time_or_a_success() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let later = now + Duration::from_secs(60);
        setbacks.defer("a", later);
        assert!(setbacks.is_deferred("a", now) && !setbacks.is_deferred("b", now));
        assert!(!setbacks.is_deferred("a", later));
        setbacks.forget("a", []);
        assert!(!setbacks.is_deferred("a", now));
    }

    #[test]
    fn a_file_that_was_read_meanwhile_starts_anew() {
        let (mut setbacks, file, now) = (Setbacks::default(), Path::from("a/b"), Instant::now());
        let later = |minutes: u64| now + Duration::from_secs(60 * minutes);
        assert!(!setbacks.is_unread_again(&file, now) && setbacks.is_unread_again(&file, later(1)));
        setbacks.forget("a", [&file]);
        assert!(!setbacks.is_unread_again(&file, later(2)));
        setbacks.was_read(&file);
        assert!(!setbacks.is_unread_again(&file, later(3)));
    }

    #[test]
    fn many_failures_at_one_moment_are_one() {
        let (mut setbacks, file, now) = (Setbacks::default(), Path::from("a/b"), Instant::now());
        assert!(!setbacks.is_unread_again(&file, now) && !setbacks.is_unread_again(&file, now));
    }
}
