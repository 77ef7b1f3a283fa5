//! How much may be read ahead of a partition: its share of the memory for all of them.

use super::partition::BATCHES_MAX;

/// Batches of a partition that there may be at once: those in its channel, one that is made, one that waits for room, and one that the
/// feed has taken and not handed out.
const BATCHES: usize = BATCHES_MAX + 3;
/// Most bytes of a batch, and fewest.
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_BYTES_MIN: usize = 1 << 16;
/// Most bytes of one answer of a broker about a partition, and fewest. A larger batch of Kafka's comes alone.
const FETCH_BYTES_MAX: usize = 1 << 20;
const FETCH_BYTES_MIN: usize = 1 << 16;
/// Most bytes in a partition's queue in librdkafka before it fetches no more, and fewest, in KiB.
const QUEUE_KIB_MAX: usize = 32 << 10;
const QUEUE_KIB_MIN: usize = 128;
/// The least that a partition gets, as the documentation says it.
const LEAST_BYTES: usize = 640 << 10;
const _: () = assert!(
    2 * BATCHES * BATCH_BYTES_MIN <= LEAST_BYTES,
    "a half that is smaller than this is exceeded by batches alone"
);

/// What one partition may have read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Bytes of a batch.
    pub(super) batch_bytes: usize,
    /// Bytes of one answer of a broker.
    pub(super) fetch_bytes: usize,
    /// What librdkafka's queue of the partition may hold, in KiB. It may be exceeded by one answer.
    pub(super) queue_kib: usize,
}

impl Share {
    /// Shares the memory: one half is for batches, the other for what librdkafka has fetched.
    pub(super) fn of(prefetch_bytes: usize, partitions: usize) -> Share {
        let half = prefetch_bytes / 2 / partitions.max(1);
        let batch_bytes = (half / BATCHES).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX);
        let fetch_bytes = (half / 4).clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX);
        let queue_kib = (half.saturating_sub(fetch_bytes) >> 10).clamp(QUEUE_KIB_MIN, QUEUE_KIB_MAX);
        Share { batch_bytes, fetch_bytes, queue_kib }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_partitions_there_are_they_keep_to_what_there_is_for_all() {
        for prefetch_bytes in [1 << 20, 16 << 20, 128 << 20, 4 << 30] {
            for partitions in [1, 2, 7, 32, 256, 5_000] {
                let Share { batch_bytes, fetch_bytes, queue_kib } = Share::of(prefetch_bytes, partitions);
                let each = BATCHES * batch_bytes + fetch_bytes + (queue_kib << 10);
                let may = prefetch_bytes.max(partitions * LEAST_BYTES);
                assert!(partitions * each <= may, "{partitions} of {prefetch_bytes}: {each} each");
            }
        }
        let share = Share::of(128 << 20, 8);
        assert_eq!(share, Share { batch_bytes: 1 << 20, fetch_bytes: 1 << 20, queue_kib: 7 << 10 });
    }
}
