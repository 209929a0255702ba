//! Numbers for names, so that keys are numbers.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands for all names that a bound left no room for.
pub const OTHER_NAME: &str = "(other)";

/// Number of what is null.
pub(crate) const ABSENT: u32 = 0;
/// Number of [`OTHER_NAME`].
pub(crate) const OTHER: u32 = 1;

/// Every name seen since the last cut, once.
///
/// Bound: a number and bytes of names. When full, new names become [`OTHER_NAME`], and are counted.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    names_max: usize,
    bytes: usize,
    bytes_max: usize,
    refused: u64,
}

impl Names {
    pub(crate) fn new(names_max: usize, bytes_max: usize) -> Self {
        let mut names = Self { numbers: HashMap::new(), texts: Vec::new(), names_max, bytes: 0, bytes_max, refused: 0 };
        // The number 0 is nobody's text.
        names.texts.push("".into());
        names.insert(OTHER_NAME);
        names
    }

    /// The same bounds, and the count of what was refused, without names.
    pub(crate) fn renewed(&self) -> Self {
        Self { refused: self.refused, ..Self::new(self.names_max, self.bytes_max) }
    }

    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.texts.len() > self.names_max || self.bytes + name.len() > self.bytes_max {
            self.refused += 1;
            return OTHER;
        }
        self.insert(name)
    }

    /// The number of a name that was seen, if there was room for it.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// How many numbers are in use, 0 included.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    /// Whether half of the bound is used.
    pub(crate) fn is_half_full(&self) -> bool {
        self.texts.len() > self.names_max / 2 || self.bytes > self.bytes_max / 2
    }

    pub(crate) fn bytes(&self) -> usize {
        // Beside its text, a name takes two pointers of 16 bytes, the counts that they share, and its place in the map.
        self.bytes + self.texts.len() * 64
    }

    /// How often a batch held a name that there was no room for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn insert(&mut self, name: &str) -> u32 {
        let number = self.texts.len() as u32;
        let name: Arc<str> = name.into();
        self.bytes += name.len();
        self.numbers.insert(Arc::clone(&name), number);
        self.texts.push(name);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_have_one_number() {
        let mut names = Names::new(100, 1_000);
        let (a, b) = (names.number("a"), names.number("b"));
        assert!(a != b && a > OTHER && b > OTHER);
        assert_eq!((names.number("a"), names.number(OTHER_NAME)), (a, OTHER));
        assert_eq!((names.text(a), names.text(OTHER)), ("a", OTHER_NAME));
    }

    #[test]
    fn what_does_not_fit_is_other_and_counted() {
        let mut names = Names::new(3, 1_000);
        let numbers = ["a", "b", "c", "a", "c"].map(|name| names.number(name));
        assert_eq!(numbers, [2, 3, OTHER, 2, OTHER]);
        assert_eq!(names.refused(), 2);
        let renewed = names.renewed();
        assert_eq!((renewed.len(), renewed.refused()), (2, 2));

        let mut by_bytes = Names::new(100, OTHER_NAME.len() + 4);
        assert_eq!(["abc", "de", "f"].map(|name| by_bytes.number(name)), [2, OTHER, 3]);
    }
}
