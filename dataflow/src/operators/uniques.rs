//! The operator around [`Visits`]: takes changes of visits by (ad, user), emits changes of distinct users.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::generic::Operator as _;

use super::arrangements::Arrangements;
use super::context::Context;
use super::inbox::Inbox;
use super::packet::{Packet, by_hash_range};
use super::records::{UniqueUpdate, VisitUpdate};

/// Counts the distinct users of every size of window. Keeps the visits.
pub(crate) fn uniques<'s>(
    visits: Stream<'s, u64, Packet<VisitUpdate>>,
    context: &Rc<Context>,
    arrangements: &Rc<Arrangements>,
) -> Stream<'s, u64, Packet<UniqueUpdate>> {
    let (context, arrangements) = (Rc::clone(context), Rc::clone(arrangements));
    visits.unary_frontier::<CapacityContainerBuilder<_>, _, _, _>(by_hash_range(), "Uniques", move |_, _| {
        let mut inbox = Inbox::new(1);
        move |(input, frontier), output| {
            inbox.take_in(input);
            while let Some((epoch, held)) = inbox.next_complete(frontier) {
                let mut visits = arrangements.visits.borrow_mut();
                let users = visits.apply(&held.pieces, &context.retention_before(epoch), context.may_forget.get());
                context.upstream.borrow_mut().entry(epoch).or_default().visits = Some(visits.runs());
                output.session(&held.capabilities[0]).give_container(&mut Packet(users));
            }
        }
    })
}
