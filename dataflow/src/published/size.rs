//! What is remembered, as it is told to whoever asks how much it is.

/// The size of one arrangement, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrangementSize {
    /// Its name.
    pub name: &'static str,
    /// Its records.
    pub records: u64,
    /// The bytes of its chunks, in memory or mapped.
    pub bytes: u64,
    /// The bytes of those that are in memory.
    pub resident_bytes: u64,
    /// The bytes of chunks that are whole in memory: a checkpoint can take their place.
    pub loose_bytes: u64,
    /// Its runs.
    pub runs: u64,
}
