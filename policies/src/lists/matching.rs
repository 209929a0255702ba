//! The entries of a list, for looking up.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::declaration::Kind;

/// Most entries of one list, and longest entry in bytes.
const ENTRIES_MAX: usize = 1_000_000;
const ENTRY_BYTES_MAX: usize = 1_024;
/// Largest text of entries, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// What is wrong with the entries of a list. The list is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Too large.
    #[error("{0}")]
    TooLarge(String),
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
    /// An entry that is none.
    #[error("line {line}: `{entry}` is neither an address nor a network")]
    NotAnAddress {
        /// Line, from 1.
        line: usize,
        /// What stands there.
        entry: String,
    },
    /// Nothing in it, which is more likely a source that failed than a list that was meant.
    #[error("there is no entry; write `# empty` on a line of its own if that is meant")]
    Empty,
}

/// The entries of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    entries: usize,
    index: Index,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Index {
    /// First and last address of ranges that neither overlap nor touch, in order; IPv4 as in `::ffff:0:0/96`.
    Addresses(Vec<(u128, u128)>),
    Texts(HashSet<Box<str>>),
    /// In order; none begins with another.
    Prefixes(Vec<Box<str>>),
}

impl List {
    /// Reads entries, one a line. What follows `#` at the beginning of a line or after a space is a comment.
    ///
    /// # Errors
    /// When there are too many, none, or one that is wrong.
    pub fn read(kind: Kind, bytes: &[u8]) -> Result<Self, ListError> {
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(ListError::TooLarge(format!("larger than {} MiB", TEXT_BYTES_MAX >> 20)));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ListError::NotText)?;
        let entries = text.lines().enumerate().map(|(index, line)| (index + 1, entry(line)));
        let entries: Vec<_> = entries.filter(|(_, entry)| !entry.is_empty()).collect();
        if entries.len() > ENTRIES_MAX {
            return Err(ListError::TooLarge(format!("{} entries, at most {ENTRIES_MAX} are allowed", entries.len())));
        }
        if let Some((line, _)) = entries.iter().find(|(_, entry)| entry.len() > ENTRY_BYTES_MAX) {
            return Err(ListError::TooLarge(format!("line {line}: longer than {ENTRY_BYTES_MAX} bytes")));
        }
        if entries.is_empty() && !text.lines().any(|line| line.trim() == "# empty") {
            return Err(ListError::Empty);
        }
        let number = entries.len();
        let texts = entries.iter().map(|(_, entry)| Box::from(*entry));
        let index = match kind {
            Kind::Cidr => Index::Addresses(addresses(&entries)?),
            Kind::Exact => Index::Texts(texts.collect()),
            Kind::Prefix => Index::Prefixes(prefixes(texts.collect())),
        };
        Ok(Self { entries: number, index })
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether an address is in one of its networks.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        let Index::Addresses(ranges) = &self.index else { return false };
        let number = number(address);
        let after = ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && ranges[after - 1].1 >= number
    }

    /// Whether a text is in it, or begins with one that is. An empty text is unknown, and on no list.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        match &self.index {
            _ if text.is_empty() => false,
            Index::Addresses(_) => false,
            Index::Texts(texts) => texts.contains(text),
            Index::Prefixes(prefixes) => {
                // Of what stands before a text in order only the last can be its beginning: any between the two would
                // begin with that as well.
                let after = prefixes.partition_point(|prefix| **prefix <= *text);
                after > 0 && text.starts_with(&*prefixes[after - 1])
            }
        }
    }
}

fn entry(line: &str) -> &str {
    let end = match line.find('#') {
        Some(0) => 0,
        Some(_) => line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len()),
        None => line.len(),
    };
    line[..end].trim()
}

fn addresses(entries: &[(usize, &str)]) -> Result<Vec<(u128, u128)>, ListError> {
    let mut ranges = Vec::with_capacity(entries.len());
    for (line, entry) in entries {
        let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| ListError::NotAnAddress { line: *line, entry: (*entry).to_owned() })?;
        ranges.push((number(network.network()), number(network.broadcast())));
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    Ok(merged)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn prefixes(mut prefixes: Vec<Box<str>>) -> Vec<Box<str>> {
    prefixes.sort_unstable();
    let mut kept: Vec<Box<str>> = Vec::new();
    for prefix in prefixes {
        if !kept.last().is_some_and(|last| prefix.starts_with(&**last)) {
            kept.push(prefix);
        }
    }
    kept
}
