//! Reads YAML configuration and lists all of its problems at once.
//!
//! What an unknown key means is never guessed: it is refused, together with every other one, so that a misspelt setting
//! cannot silently become a default.

mod listen;
mod load;
mod units;

pub use listen::{Exposed, check_listen};
pub use load::{ConfigError, Problem, from_str, load};
pub use units::{ByteSize, DurationText, UnitError};
