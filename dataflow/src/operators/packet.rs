//! What travels on an edge: records as raw columns, and the rule by which they find their worker.
//!
//! Within a process a packet is moved, not encoded. Between processes its bytes are the records' own.

use bytemuck::Pod;
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use crate::trace::Record;

/// Records of one edge and one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Packet<R>(pub(crate) Vec<R>);

impl<R> Default for Packet<R> {
    fn default() -> Self {
        Packet(Vec::new())
    }
}

impl<R> Accountable for Packet<R> {
    fn record_count(&self) -> i64 {
        self.0.len() as i64
    }
}

impl<R: Pod> ContainerBytes for Packet<R> {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        // Eight bytes say how many records follow; what is left fills the last word.
        let (len, rest) = bytes.split_at(size_of::<u64>());
        let len = u64::from_le_bytes(len.try_into().expect("the split is eight bytes")) as usize;
        Packet(bytemuck::allocation::pod_collect_to_vec(&rest[..len * size_of::<R>()]))
    }

    fn length_in_bytes(&self) -> usize {
        size_of::<u64>() + (self.0.len() * size_of::<R>()).next_multiple_of(size_of::<u64>())
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        let records: &[u8] = bytemuck::cast_slice(&self.0);
        let fill = &[0; size_of::<u64>()][..records.len().next_multiple_of(size_of::<u64>()) - records.len()];
        for bytes in [&(self.0.len() as u64).to_le_bytes()[..], records, fill] {
            writer.write_all(bytes).expect("timely's buffers take all that they were sized for");
        }
    }
}

/// The worker, of `peers`, that owns a hash: each owns one contiguous range, so that its share of a sorted run is a slice.
#[inline]
pub(crate) fn owner(hash: u64, peers: usize) -> usize {
    ((u128::from(hash) * peers as u128) >> 64) as usize
}

/// The first and the last hash that a worker, of `peers`, owns.
pub(crate) fn range_of(worker: usize, peers: usize) -> (u64, u64) {
    let start = |worker: usize| ((worker as u128) << 64).div_ceil(peers as u128);
    (start(worker) as u64, (start(worker + 1) - 1) as u64)
}

/// Sends every record to the worker that owns its key's hash.
pub(crate) fn by_hash_range() -> DistributorPact<impl FnOnce(usize) -> HashRanges> {
    DistributorPact(|peers| HashRanges { peers })
}

/// Cuts packets by hash range.
pub(crate) struct HashRanges {
    peers: usize,
}

impl<R: Record> Distributor<Packet<R>> for HashRanges {
    fn partition<T: Clone, P: Push<Message<T, Packet<R>>>>(
        &mut self,
        packet: &mut Packet<R>,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let expected = packet.0.len() / self.peers + packet.0.len() / 16 + 16;
        let mut parts: Vec<Packet<R>> = (0..self.peers).map(|_| Packet(Vec::with_capacity(expected))).collect();
        for record in &packet.0 {
            parts[owner(record.key().hash, self.peers)].0.push(*record);
        }
        for (part, pusher) in parts.iter_mut().zip(pushers) {
            if !part.0.is_empty() {
                Message::push_at(part, stamp.clone(), pusher);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Packet<R>>>>(&mut self, _stamp: &Stamp<T>, _pushers: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_owns_one_range() {
        for peers in 1..9 {
            let owners: Vec<usize> = (0..=255_u64).map(|top| owner(top << 56, peers)).collect();
            assert!(owners.is_sorted(), "{owners:?}");
            assert_eq!((owners[0], owners[255]), (0, peers - 1));
            for worker in 0..peers {
                let (low, high) = range_of(worker, peers);
                assert_eq!((owner(low, peers), owner(high, peers)), (worker, worker));
                assert!(worker == 0 && low == 0 || owner(low - 1, peers) == worker - 1);
            }
            assert_eq!(range_of(peers - 1, peers).1, u64::MAX);
        }
        assert_eq!(owner(u64::MAX, 7), 6);
    }

    #[test]
    fn a_packet_crosses_as_its_bytes() {
        let packet = Packet(vec![[1_u32, 2, 3], [4, 5, 6], [7, 8, 9]]);
        let mut written = Vec::new();
        packet.into_bytes(&mut written);
        assert_eq!(written.len(), packet.length_in_bytes());
        let bytes = timely::bytes::arc::BytesMut::from(written).freeze();
        assert_eq!(Packet::<[u32; 3]>::from_bytes(bytes).0, packet.0);
    }
}
