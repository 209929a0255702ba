//! The dashboards, from the whole to the single request.

mod edge;
mod engine;
mod fleet;
mod limits;
mod mesh;
mod policies;
mod requests;
mod service;
mod shared;

use crate::model::Board;

/// All of them, in reading order.
#[must_use]
pub fn boards() -> Vec<Board> {
    vec![
        mesh::board(),
        service::board(),
        edge::board(),
        policies::board(),
        limits::board(),
        requests::board(),
        fleet::board(),
        engine::board(),
    ]
}
