//! The first step of every operator: take what comes, and hand out whole epochs.

use std::collections::BTreeMap;

use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::progress::frontier::MutableAntichain;

use super::packet::Packet;

/// Records by epoch, until their epoch is complete.
pub(crate) struct Inbox<R> {
    epochs: BTreeMap<u64, Held<R>>,
    outputs: usize,
}

/// What was taken in of one epoch.
pub(crate) struct Held<R> {
    /// The right to emit at the epoch, one an output.
    pub(crate) capabilities: Vec<Capability<u64>>,
    /// The records, a piece a packet.
    pub(crate) pieces: Vec<Vec<R>>,
}

impl<R: 'static> Inbox<R> {
    /// An inbox of an operator with some outputs.
    pub(crate) fn new(outputs: usize) -> Self {
        Inbox { epochs: BTreeMap::new(), outputs }
    }

    /// Takes in all that has arrived.
    pub(crate) fn take_in<P>(&mut self, input: &mut InputHandleCore<u64, Packet<R>, P>)
    where
        P: Pull<Message<u64, Packet<R>>>,
    {
        input.for_each(|capability, packet| {
            let epoch = *capability.least().expect("every packet is sent at an epoch");
            let held = self.epochs.entry(epoch).or_insert_with(|| Held {
                capabilities: (0..self.outputs).filter_map(|output| capability.retain_least(output)).collect(),
                pieces: Vec::new(),
            });
            held.pieces.push(std::mem::take(&mut packet.0));
        });
    }

    /// The oldest epoch held, if the frontier has passed it.
    pub(crate) fn next_complete(&mut self, frontier: &MutableAntichain<u64>) -> Option<(u64, Held<R>)> {
        let oldest = self.epochs.first_entry()?;
        (!frontier.less_equal(oldest.key())).then(|| oldest.remove_entry())
    }

    /// The records of one epoch that is known to be complete.
    pub(crate) fn remove(&mut self, epoch: u64) -> Vec<Vec<R>> {
        self.epochs.remove(&epoch).map_or_else(Vec::new, |held| held.pieces)
    }
}
