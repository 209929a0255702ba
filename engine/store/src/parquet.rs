//! Turns rows of a table into Parquet and back.

#[cfg(test)]
mod measure;
mod properties;
mod reader;
mod writer;

pub(crate) use properties::{FORMAT_VERSION, FileLabel};
pub(crate) use reader::{Rows, adapted, format_version};
pub(crate) use writer::{TableWriter, Written};
