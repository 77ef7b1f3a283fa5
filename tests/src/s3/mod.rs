//! A real object store for tests: a server that speaks S3, its buckets, and connections to it that break.
//!
//! Nothing here uses the product's own rooms, so that neither can hide a fault of the other.

mod bucket;
mod install;
mod link;
mod server;

pub use bucket::Bucket;
pub use link::Link;
