//! The vocabulary: every attribute of a request, once.
//!
//! `vocabulary.rs` holds the one table. The Arrow schema, the row that a reporter fills, the batch builder, the Cedar
//! context and the documentation page all come from it, so that adding an attribute touches one place.

mod batch;
mod column;
mod encode;
mod page;
mod values;
mod vocabulary;

pub use batch::{BatchBuilder, BatchLimits, Fill};
pub use column::Kind;
pub use encode::encode;
pub use page::markdown;
pub use values::{Decision, Direction, Priority, Reason, UnknownValue};
pub use vocabulary::{ATTRIBUTES, Attribute, Row, attribute, schema};
