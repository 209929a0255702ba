//! Least and greatest value of pages and columns, as a file's index and statistics hold them.

use parquet::basic::Type;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Longer texts are cut, so that the index of a file stays small.
const BYTES_MAX: usize = 64;

/// Least and greatest value of a page or column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bounds {
    /// In the order of their bytes.
    Texts {
        least: String,
        most: String,
    },
    Integers {
        least: i64,
        most: i64,
        is_64_bit: bool,
    },
}

/// A bound of texts, at most [`BYTES_MAX`] long if that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    text: String,
    /// Whether a value is equal to it, and not only on its right side.
    is_exact: bool,
}

impl Bounds {
    /// Of these texts; `None` when there are none.
    pub(super) fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let widen = |bounds: Option<(&'a str, &'a str)>, text: &'a str| {
            let (least, most) = bounds.unwrap_or((text, text));
            Some((least.min(text), most.max(text)))
        };
        let (least, most) = texts.fold(None, widen)?;
        Some(Self::Texts { least: least.to_owned(), most: most.to_owned() })
    }

    pub(super) fn of_integers(least: i64, most: i64, is_64_bit: bool) -> Self {
        Self::Integers { least, most, is_64_bit }
    }

    /// What both are within. Both are of one column.
    pub(super) fn union(left: Option<Self>, right: Option<Self>) -> Option<Self> {
        match (left, right) {
            (Some(Self::Texts { least, most }), Some(Self::Texts { least: l, most: m })) => {
                Some(Self::Texts { least: least.min(l), most: most.max(m) })
            }
            (Some(Self::Integers { least, most, is_64_bit }), Some(Self::Integers { least: l, most: m, .. })) => {
                Some(Self::Integers { least: least.min(l), most: most.max(m), is_64_bit })
            }
            (left, right) => left.or(right),
        }
    }

    /// Lower and upper bound as an index of pages holds them.
    pub(super) fn to_bytes(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Texts { least, most } => (lower(least).text.into(), upper(most).text.into()),
            Self::Integers { least, most, is_64_bit: true } => (least.to_le_bytes().into(), most.to_le_bytes().into()),
            Self::Integers { least, most, is_64_bit: false } => {
                ((*least as i32).to_le_bytes().into(), (*most as i32).to_le_bytes().into())
            }
        }
    }

    /// What a file says about a column within these bounds.
    pub(super) fn statistics(&self, nulls: u64) -> Statistics {
        match self {
            Self::Texts { least, most } => {
                let (least, most) = (lower(least), upper(most));
                let bytes = |bound: Bound| Some(ByteArray::from(bound.text.into_bytes()));
                let (is_least, is_most) = (least.is_exact, most.is_exact);
                ValueStatistics::new(bytes(least), bytes(most), None, Some(nulls), false)
                    .with_min_is_exact(is_least)
                    .with_max_is_exact(is_most)
                    .into()
            }
            Self::Integers { least, most, is_64_bit: true } => {
                Statistics::new(Some(*least), Some(*most), None, Some(nulls), false)
            }
            Self::Integers { least, most, is_64_bit: false } => {
                Statistics::new(Some(*least as i32), Some(*most as i32), None, Some(nulls), false)
            }
        }
    }
}

/// What a file says about a column of nulls.
pub(super) fn statistics_of_nulls(column: Type, nulls: u64) -> Statistics {
    match column {
        Type::INT64 => Statistics::new::<i64>(None, None, None, Some(nulls), false),
        Type::INT32 => Statistics::new::<i32>(None, None, None, Some(nulls), false),
        _ => Statistics::new::<ByteArray>(None, None, None, Some(nulls), false),
    }
}

fn lower(text: &str) -> Bound {
    let short = prefix(text);
    Bound { is_exact: short.len() == text.len(), text: short.to_owned() }
}

fn upper(text: &str) -> Bound {
    let shorter = (text.len() > BYTES_MAX).then(|| above(text)).flatten();
    let exact = || Bound { text: text.to_owned(), is_exact: true };
    shorter.map_or_else(exact, |text| Bound { text, is_exact: false })
}

fn prefix(text: &str) -> &str {
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

/// A short text that is greater than all that begin as this one does; `None` where there is none.
fn above(text: &str) -> Option<String> {
    let mut short = prefix(text).to_owned();
    while let Some(last) = short.pop() {
        // Greater characters have greater bytes, whatever their length. Between some of them there is a gap of 2,048 numbers.
        if let Some(next) = (u32::from(last) + 1..).take(2_049).find_map(char::from_u32) {
            short.push(next);
            return Some(short);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_within_the_bounds(texts in prop::collection::vec("[a-c\u{d7ff}\u{10ffff}ü]{0,80}", 1..20)) {
            let (left, right) = texts.split_at(texts.len() / 2);
            let of = |texts: &[String]| Bounds::of_texts(texts.iter().map(String::as_str));
            let bounds = of(&texts).unwrap();
            prop_assert_eq!(Bounds::union(of(left), of(right)), Some(bounds.clone()));
            let (least, most) = bounds.to_bytes();
            for text in &texts {
                prop_assert!(least.as_slice() <= text.as_bytes() && text.as_bytes() <= most.as_slice());
            }
            let statistics = bounds.statistics(3);
            prop_assert_eq!((statistics.min_bytes_opt(), statistics.max_bytes_opt()), (Some(&*least), Some(&*most)));
            let is_value = |bound: &[u8]| texts.iter().any(|text| text.as_bytes() == bound);
            prop_assert_eq!((statistics.min_is_exact(), statistics.max_is_exact()), (is_value(&least), is_value(&most)));
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let (a, z) = ("a".repeat(100), "\u{10ffff}".repeat(100));
        let (least, most) = Bounds::of_texts([a.as_str(), z.as_str()].into_iter()).unwrap().to_bytes();
        assert_eq!((least.len(), most.len()), (64, 400), "nothing is greater than the last character");
        assert_eq!(above(&a).unwrap(), format!("{}b", "a".repeat(63)));
    }
}
