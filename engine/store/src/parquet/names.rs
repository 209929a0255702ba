//! Columns of names: the dictionary of the file comes from those of the batches, a text is looked at once a batch and not once a row.

use std::collections::HashMap;

use arrow::array::{Array, AsArray as _, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;

use super::bounds::Bounds;
use super::chunk::{Chunk, Dictionary, Levels, PAGE_ROWS, Parts};
use super::hybrid;

/// A dictionary is full with so many bytes: paths may be many, and each is long. Further rows hold their texts themselves.
const DICTIONARY_BYTES_MAX: usize = 8 << 20;
/// Most bytes of texts in a page without dictionary.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// In the place of a number: the text was not looked at yet, or is null.
const UNKNOWN: u32 = u32::MAX;
const NULL: u32 = u32::MAX - 1;

/// Encodes one column of names of a row group.
///
/// Bound: a dictionary of 8 MiB, one page, and the pages that are encoded.
pub(super) struct NameColumn {
    chunk: Chunk,
    texts: Texts,
    levels: Levels,
    values: Values,
}

/// What is in the page that is being filled.
enum Values {
    /// Numbers, while the dictionary has room.
    Numbers(Numbers),
    /// Texts, each with its length before it.
    Plain { bytes: Vec<u8>, bounds: Vec<String> },
}

#[derive(Default)]
struct Numbers {
    numbers: Vec<u32>,
    /// Each number of the page once.
    distinct: Vec<u32>,
    /// By number: the last page that it was in, counted from 1.
    seen: Vec<u32>,
    page: u32,
}

impl NameColumn {
    pub(super) fn new(column: ColumnDescPtr) -> Result<Self> {
        let numbers = Numbers { page: 1, ..Numbers::default() };
        Ok(Self {
            chunk: Chunk::with_bounds(column)?,
            texts: Texts::default(),
            levels: Levels::default(),
            values: Values::Numbers(numbers),
        })
    }

    pub(super) fn write(&mut self, names: &dyn Array) -> Result<()> {
        let names = names.as_dictionary_opt::<Int32Type>();
        let names = names.and_then(|names| Some((names, names.values().as_string_opt::<i32>()?)));
        let (names, texts) =
            names.ok_or_else(|| ParquetError::General("a column of names is not a dictionary".into()))?;
        let mut known = vec![UNKNOWN; texts.len()];
        let mut from = 0;
        while from < names.len() {
            from = match &mut self.values {
                Values::Numbers(page) => page.fill(&mut self.texts, &mut self.levels, (names, texts), from, &mut known),
                Values::Plain { bytes, bounds } => fill_plain((bytes, bounds), &mut self.levels, (names, texts), from),
            };
            if self.is_page_full() {
                self.close_page()?;
            }
        }
        Ok(())
    }

    /// About how many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.chunk.bytes() + self.texts.page.len() + self.levels.rows() * 4
    }

    pub(super) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if self.levels.rows() > 0 {
            self.close_page()?;
        }
        let values = self.texts.len();
        self.chunk.close(Some(Dictionary { page: self.texts.page, values }), None)
    }

    fn is_page_full(&self) -> bool {
        let is_full = match &self.values {
            Values::Numbers(_) => self.texts.is_full(),
            Values::Plain { bytes, .. } => bytes.len() >= PAGE_BYTES_MAX,
        };
        is_full || self.levels.rows() >= PAGE_ROWS
    }

    fn close_page(&mut self) -> Result<()> {
        let (chunk, levels) = (&mut self.chunk, &mut self.levels);
        match &mut self.values {
            Values::Numbers(page) => {
                let bounds = Bounds::of_texts(page.distinct.iter().map(|number| self.texts.get(*number)));
                let bits = hybrid::stored_bits(self.texts.len().saturating_sub(1));
                chunk.push(levels, Encoding::RLE_DICTIONARY, bounds, |body| {
                    body.push(bits);
                    hybrid::encode(&page.numbers, bits, body);
                    Parts::new()
                })?;
                page.numbers.clear();
                page.distinct.clear();
                page.page += 1;
            }
            Values::Plain { bytes, bounds } => {
                let of = Bounds::of_texts(bounds.iter().map(String::as_str));
                chunk.push(levels, Encoding::PLAIN, of, |body| {
                    body.append(bytes);
                    Parts::new()
                })?;
                bounds.clear();
            }
        }
        if self.texts.is_full() && matches!(self.values, Values::Numbers(_)) {
            self.values = Values::Plain { bytes: Vec::new(), bounds: Vec::new() };
        }
        Ok(())
    }
}

/// A batch's column and its texts.
type Names<'a> = (&'a DictionaryArray<Int32Type>, &'a StringArray);

impl Numbers {
    /// Takes rows until the page or the dictionary is full. Returns the first that was not taken.
    fn fill(
        &mut self,
        texts: &mut Texts,
        levels: &mut Levels,
        names: Names<'_>,
        from: usize,
        known: &mut [u32],
    ) -> usize {
        let (array, values) = names;
        let end = array.len().min(from + PAGE_ROWS - levels.rows());
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        for row in from..end {
            let key = array.keys().value(row) as usize;
            let number = match known.get(key) {
                _ if nulls.is_some_and(|nulls| nulls.is_null(row)) => NULL,
                Some(&number) if number != UNKNOWN => number,
                _ if texts.is_full() => return row,
                _ => {
                    let number = if values.is_null(key) { NULL } else { texts.number(values.value(key)) };
                    self.seen.resize(texts.len() as usize, 0);
                    known[key] = number;
                    number
                }
            };
            levels.push(number != NULL);
            if number != NULL {
                self.push(number);
            }
        }
        end
    }

    fn push(&mut self, number: u32) {
        let seen = &mut self.seen[number as usize];
        if *seen != self.page {
            *seen = self.page;
            self.distinct.push(number);
        }
        self.numbers.push(number);
    }
}

/// Takes rows until the page is full. Returns the first that was not taken.
fn fill_plain(page: (&mut Vec<u8>, &mut Vec<String>), levels: &mut Levels, names: Names<'_>, from: usize) -> usize {
    let ((bytes, bounds), (array, values)) = (page, names);
    for row in from..array.len() {
        if levels.rows() >= PAGE_ROWS || bytes.len() >= PAGE_BYTES_MAX {
            return row;
        }
        let key = array.is_valid(row).then(|| array.keys().value(row) as usize).filter(|key| values.is_valid(*key));
        levels.push(key.is_some());
        let Some(text) = key.map(|key| values.value(key)) else { continue };
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        match bounds.as_mut_slice() {
            [least, most] => {
                if text < least.as_str() {
                    text.clone_into(least);
                }
                if text > most.as_str() {
                    text.clone_into(most);
                }
            }
            _ => *bounds = vec![text.to_owned(), text.to_owned()],
        }
    }
    array.len()
}

/// Every text once, numbered in the order in which they come.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Box<str>, u32>,
    /// Where each begins in `page`, and its length.
    places: Vec<(u32, u32)>,
    /// The dictionary's page: each text with its length before it.
    page: Vec<u8>,
}

impl Texts {
    fn len(&self) -> u32 {
        self.places.len() as u32
    }

    fn is_full(&self) -> bool {
        self.page.len() >= DICTIONARY_BYTES_MAX
    }

    fn get(&self, number: u32) -> &str {
        let place = self.places.get(number as usize);
        let bytes = place.and_then(|(at, length)| self.page.get(*at as usize..(at + length) as usize));
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.len();
        self.page.extend((text.len() as u32).to_le_bytes());
        self.places.push((self.page.len() as u32, text.len() as u32));
        self.page.extend(text.as_bytes());
        self.numbers.insert(text.into(), number);
        number
    }
}
