//! What `replay` writes: rows, changes, corrections and records set aside, a line each.

pub(crate) mod file;
pub(crate) mod lines;
pub(crate) mod text;
