//! Histories of appends on a disk that fails, and what must be true of the log afterwards.

mod log;

pub use log::{ARRIVAL_MS, LogWorld, NEW_STORE, history, open_dir, settings};
