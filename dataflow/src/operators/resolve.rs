//! The operator around the [`Ledger`]: takes facts by click, emits changes of rows and of visits.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::domain::fact::Fact;

use super::arrangements::Arrangements;
use super::context::Context;
use super::inbox::Inbox;
use super::packet::{Packet, by_hash_range};
use super::records::{RowUpdate, VisitUpdate};

type RowUpdates<'s> = Stream<'s, u64, Packet<RowUpdate>>;
type VisitUpdates<'s> = Stream<'s, u64, Packet<VisitUpdate>>;

/// Resolves every click that an epoch's facts touch. Keeps the ledger.
pub(crate) fn resolve<'s>(
    facts: Stream<'s, u64, Packet<Fact>>,
    context: &Rc<Context>,
    arrangements: &Rc<Arrangements>,
) -> (RowUpdates<'s>, VisitUpdates<'s>) {
    let (context, arrangements) = (Rc::clone(context), Rc::clone(arrangements));
    let mut builder = OperatorBuilder::new("Resolve".to_owned(), facts.scope());
    let mut input = builder.new_input(facts, by_hash_range());
    let (rows, row_updates) = builder.new_output();
    let (visits, visit_updates) = builder.new_output();
    let mut rows = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(rows);
    let mut visits = OutputBuilder::<u64, CapacityContainerBuilder<_>>::from(visits);
    builder.build(move |_| {
        let mut inbox = Inbox::new(2);
        move |frontiers| {
            inbox.take_in(&mut input);
            let (mut rows, mut visits) = (rows.activate(), visits.activate());
            while let Some((epoch, held)) = inbox.next_complete(&frontiers[0]) {
                let mut ledger = arrangements.ledger.borrow_mut();
                let effects = ledger.apply(&held.pieces, &context.retention_before(epoch), context.may_forget.get());
                rows.session(&held.capabilities[0]).give_container(&mut Packet(effects.rows));
                visits.session(&held.capabilities[1]).give_container(&mut Packet(effects.visits));
                let mut upstream = context.upstream.borrow_mut();
                let upstream = upstream.entry(epoch).or_default();
                (upstream.tally, upstream.ledger) = (effects.tally, Some(ledger.runs()));
            }
        }
    });
    (row_updates, visit_updates)
}
