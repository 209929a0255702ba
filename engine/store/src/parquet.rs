//! Turns rows of a table into Parquet and back.

mod bounds;
mod chunk;
mod compress;
mod encoder;
mod hybrid;
mod ids;
mod ints;
#[cfg(test)]
mod measure;
mod names;
mod packed;
mod properties;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use packed::pack_rows;
pub use packed::{DamagedList, PackedIntegers, is_packed, pack, unpack};
pub(crate) use properties::{FORMAT_VERSION, FileLabel};
pub(crate) use reader::{Rows, adapted, format_version};
pub(crate) use writer::{TableWriter, Written};
