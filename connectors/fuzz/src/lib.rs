//! What the fuzz targets share: compressed bytes, disks in memory, and what may be done to a file.

pub mod compress;
pub mod damage;
#[path = "../../../tests/src/disk/mod.rs"]
pub mod disk;
#[path = "../../../tests/src/mem_store.rs"]
pub mod mem_store;

/// The secret of the stores of these targets.
pub const KEY: [u8; 16] = [7; 16];
