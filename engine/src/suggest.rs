//! Finds what somebody may have meant.

/// Less alike than this is another word, not a misspelt one.
const SIMILARITY_MIN: f64 = 0.75;

/// The known word most like the one that was written, if any is like it.
pub(crate) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |word: &str| strsim::jaro_winkler(&written.to_ascii_lowercase(), word);
    known
        .into_iter()
        .map(|word| (similarity(word), word))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn finds_the_misspelt_and_leaves_the_different() {
        let known = ["duration_us", "destination", "status"];
        assert_eq!(closest("Duration_ms", known), Some("duration_us"));
        assert_eq!(closest("destinaton", known), Some("destination"));
        assert_eq!(closest("zebra", known), None);
    }
}
