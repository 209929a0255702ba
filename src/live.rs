//! `tollgate tap`, `stat`, `top` and `edges`: what happens now, in the terminal.
//!
//! `tap` follows requests over server-sent events (`events`); the others ask the engine's views again and again, and draw the
//! answer over the last one where there is a terminal (`screen`).

mod args;
mod events;
mod screen;
mod tap;
mod views;

pub(crate) use args::{TapArgs, ViewArgs};
pub(crate) use tap::run as tap;
pub(crate) use views::{View, run as view};
