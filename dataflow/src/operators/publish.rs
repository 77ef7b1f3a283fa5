//! The operator around [`Counts`](super::counts::Counts), and the end of the graph: takes changes of rows and of users by ad,
//! publishes every complete epoch to readers.

use std::rc::Rc;

use timely::dataflow::Stream;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::arrangements::Arrangements;
use super::context::{Context, State, Upstream};
use super::counts::Delta;
use super::inbox::Inbox;
use super::packet::{Packet, by_hash_range};
use super::records::{RowUpdate, UniqueUpdate};
use super::tally::Tally;

/// Where complete epochs go.
pub(crate) trait Publish {
    /// Takes one worker's part of an epoch: what it brought, the state after it, and what was counted of it.
    fn publish(&mut self, epoch: u64, delta: Delta, state: State, tally: Tally);
}

/// Keeps the rows, and publishes every complete epoch after `epoch`.
pub(crate) fn publish<'s>(
    rows: Stream<'s, u64, Packet<RowUpdate>>,
    users: Stream<'s, u64, Packet<UniqueUpdate>>,
    epoch: u64,
    context: &Rc<Context>,
    arrangements: &Rc<Arrangements>,
    mut publisher: impl Publish + 'static,
) {
    let (context, arrangements) = (Rc::clone(context), Rc::clone(arrangements));
    let mut builder = OperatorBuilder::new("Publish".to_owned(), rows.scope());
    let mut rows_input = builder.new_input(rows, by_hash_range());
    let mut users_input = builder.new_input(users, by_hash_range());
    builder.build(move |_| {
        let (mut rows, mut users) = (Inbox::new(0), Inbox::new(0));
        let mut next = epoch + 1;
        move |frontiers| {
            rows.take_in(&mut rows_input);
            users.take_in(&mut users_input);
            // Once both inputs are closed nothing is left: every epoch was passed before they were.
            let uppers = frontiers.iter().filter_map(|input| input.frontier().first().copied());
            let Some(upper) = uppers.min() else { return };
            while next < upper {
                let bound = context.bindings.borrow_mut().remove(&next);
                let bound = bound.expect("an epoch is bound before its records are released");
                let Upstream { mut tally, ledger, visits } =
                    context.upstream.borrow_mut().remove(&next).unwrap_or_default();
                let (rows, users, may_forget) = (rows.remove(next), users.remove(next), context.may_forget.get());
                let mut counts = arrangements.counts.borrow_mut();
                let delta = counts.apply(next, rows, users, &bound, &may_forget, &mut tally);
                let mut state = arrangements.published.borrow_mut();
                ledger.into_iter().for_each(|ledger| state.ledger = ledger);
                visits.into_iter().for_each(|visits| state.visits = visits);
                state.view = counts.view();
                publisher.publish(next, delta, state.clone(), tally);
                next += 1;
            }
        }
    });
}
