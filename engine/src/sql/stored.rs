//! The tables of the store: rows in memory and sealed files, of one moment for all tables of a query.

mod blooms;
mod bounds;
mod files;
mod hot;
mod local;
mod moment;
mod packed;
mod table;

pub(super) use self::files::objects_url;
pub(crate) use self::moment::{Nothing, Views, at_once};
pub(super) use self::moment::{examine, with_views};
pub(super) use self::packed::unpacked_by;
pub(super) use self::table::StoredTable;
