//! Names of sealed files: who wrote which records when.

use object_store::path::Path;

use crate::{Position, TableSpec};

use super::TABLES;

/// `<engine>-<first record>-<last record>-<generation>-<count>.parquet`, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) engine: String,
    pub(crate) from: Position,
    pub(crate) through: Position,
    /// Which entry of the manifest made the file: files of one generation do not hold the same rows.
    pub(crate) generation: u64,
    /// Which of its files.
    pub(crate) count: usize,
}

impl Name {
    /// The key of the file in a directory of its table.
    pub(crate) fn key(&self, table: &TableSpec, directory: &str) -> Path {
        let Self { engine, from: Position(from), through: Position(through), generation, count } = self;
        let name = format!("{engine}-{from:016x}-{through:016x}-{generation:x}-{count:x}.parquet");
        Path::from(format!("{TABLES}/{}/{directory}/{name}", table.name))
    }

    /// What a key says; `None` when it is no name of ours. An unfinished local file has its final name.
    pub(crate) fn parse(key: &Path) -> Option<Self> {
        let name = key.filename()?;
        let name = name.strip_suffix(crate::objects::UNFINISHED).unwrap_or(name).strip_suffix(".parquet")?;
        let mut parts = name.rsplitn(5, '-');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (count, generation, through, from) = (number()?, number()?, number()?, number()?);
        let engine = parts.next()?.to_owned();
        let count = usize::try_from(count).ok()?;
        Some(Self { engine, from: Position(from), through: Position(through), generation, count })
    }
}

/// The directory that a file is in.
pub(crate) fn directory(key: &Path) -> &str {
    key.as_ref().rsplit_once('/').map_or("", |(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_again_what_it_was_made_of() {
        let table = crate::sealed::tests::requests();
        let name =
            Name { engine: "e-1".into(), from: Position(1), through: Position(0x20), generation: 300, count: 17 };
        let key = name.key(&table, "date=2026-03-01/hour=09");
        let expected = "tables/requests/date=2026-03-01/hour=09/e-1-0000000000000001-0000000000000020-12c-11.parquet";
        assert_eq!(key.as_ref(), expected);
        assert_eq!(Name::parse(&key), Some(name.clone()));
        assert_eq!(Name::parse(&Path::from(format!("{expected}.tmp"))), Some(name));
        assert_eq!(directory(&key), "tables/requests/date=2026-03-01/hour=09");
        for other in ["a.parquet", "e-1-0000000000000001-x-12c-11.parquet", "notes.txt", ""] {
            assert_eq!(Name::parse(&Path::from(other)), None, "{other}");
        }
    }
}
