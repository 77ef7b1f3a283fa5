//! Where Recount's records come from: decoders, files, and the seeded workload.

mod field;
mod format;
pub mod json;
pub mod protobuf;

pub use format::{Decoded, Format, decode_one};
