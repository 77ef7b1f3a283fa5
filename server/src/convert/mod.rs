//! Where the wire's generated types and the engine's own meet; no other module names `recount_proto`.
//!
//! [`to_wire`] turns what the engine answers into messages, [`json`] writes messages in the contract's JSON (proto3 JSON with
//! snake_case names, plain numbers and zeros written), [`from_json`] reads requests in it. Requests are checked where they are
//! served and carry plain values on. [`units`] reads durations and sizes as people write them.

pub(crate) mod base64;
pub(crate) mod from_json;
pub mod json;
pub(crate) mod names;
pub(crate) mod time;
pub mod to_wire;
pub(crate) mod units;

pub(crate) use recount_proto::raw;
pub use recount_proto::{FILE_DESCRIPTOR_SET, v1 as wire};
