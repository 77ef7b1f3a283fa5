//! The wire format of Recount, generated from `proto/recount/v1/*.proto`.
//!
//! Messages are always here. The gRPC clients and servers come with the `services` feature, so that a crate that only
//! decodes events does not build an HTTP stack. Nothing else lives in this crate; the conversions to the engine's own
//! types are in the crates that need them.

/// Version 1 of every message and service.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/recount.v1.rs"));
}

/// The ingest service for those who have events as bytes already: its server, which neither decodes nor copies them, and clients
/// that pass on what they got. On the wire it is the service of [`v1`].
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod raw {
    include!(concat!(env!("OUT_DIR"), "/raw/recount.v1.rs"));
}

/// The encoded `FileDescriptorSet` of the package, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/recount.bin"));
