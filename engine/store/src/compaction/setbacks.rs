//! What went wrong in compaction, so that one directory does not keep the others waiting.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use object_store::path::Path;

/// How long a directory is left alone after its files could not be rewritten.
pub(super) const WAIT: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });

/// How long ago a failure may be to count beside another one.
const MEMORY: Duration = Duration::from_secs(600);

/// Directories and files that made a rewriting or a query fail.
///
/// Bound: the directories and files there are. A rewriting that goes well takes them out, and so does time.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    deferred: HashMap<String, Instant>,
    /// When a file could not be read first and last.
    unread: HashMap<Path, (Instant, Instant)>,
}

impl Setbacks {
    /// Leaves a directory alone for a while.
    pub(super) fn defer(&mut self, directory: &str, until: Instant) {
        self.deferred.insert(directory.to_owned(), until);
    }

    pub(super) fn is_deferred(&self, directory: &str, now: Instant) -> bool {
        self.deferred.get(directory).is_some_and(|until| now < *until)
    }

    /// Notes that a file could not be read; says whether that has gone on for so long. What fails for a moment, such as a mount that
    /// is away, fails for many queries at once, and may fail for a moment some other day, too.
    pub(super) fn is_unread_again(&mut self, file: &Path, now: Instant, wait: Duration) -> bool {
        self.unread.retain(|_, (_, last)| now.duration_since(*last) < MEMORY);
        let (first, last) = self.unread.entry(file.clone()).or_insert((now, now));
        *last = now;
        *first < now && now.duration_since(*first) >= wait
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

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_file_that_was_read_meanwhile_starts_anew() {
        let (mut setbacks, file, now) = (Setbacks::default(), Path::from("a/b"), Instant::now());
        let is_again =
            |setbacks: &mut Setbacks, minutes: u32| setbacks.is_unread_again(&file, now + MINUTE * minutes, MINUTE);
        assert!(!is_again(&mut setbacks, 0) && is_again(&mut setbacks, 1));
        setbacks.forget("a", [&file]);
        assert!(!is_again(&mut setbacks, 2));
        setbacks.was_read(&file);
        assert!(!is_again(&mut setbacks, 3));
    }

    #[test]
    fn failures_of_one_moment_are_one_and_those_of_long_ago_none() {
        let (mut setbacks, file, now) = (Setbacks::default(), Path::from("a/b"), Instant::now());
        let mut is_again = |after: Duration| setbacks.is_unread_again(&file, now + after, MINUTE);
        assert!(!is_again(Duration::ZERO) && !is_again(Duration::ZERO) && !is_again(Duration::from_secs(59)));
        assert!(is_again(MINUTE));
        assert!(!is_again(MINUTE + MEMORY), "another moment");
    }

    #[test]
    fn what_is_not_asked_for_again_is_forgotten() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.is_unread_again(&Path::from("a/b"), now, MINUTE);
        setbacks.is_unread_again(&Path::from("a/c"), now + MEMORY, MINUTE);
        assert_eq!(setbacks.unread.len(), 1);
    }
}
