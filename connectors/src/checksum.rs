//! Checksums of what is written.

/// Computes the checksums of one store: CRC-32, begun with the store's random id. So bytes of another store are never taken
/// for ours, and a client, who does not know the id, can not send bytes that pass for a batch of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum {
    start: u32,
}

impl Checksum {
    /// Of the store with this id.
    pub(crate) fn new(store_id: u64) -> Self {
        Checksum { start: (store_id ^ (store_id >> 32)) as u32 }
    }

    /// The checksum of some bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.start);
        hasher.update(bytes);
        hasher.finalize()
    }
}
