//! What `replay` writes: rows, changes, corrections and records set aside, a line each.

pub(crate) mod lines;
pub(crate) mod sink;
pub(crate) mod text;
