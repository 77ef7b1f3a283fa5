//! The graph.
//!
//! ```text
//!  facts ──by click──▶ resolve ─┬─ rows ──────────────────────────────────by ad──▶ counts ─▶ published epochs
//!                     [ledger]  └─ visits ──by (ad, user)──▶ uniques ─ users ─by ad──┘ [rows, overlaps,
//!                                                            [visits]                   corrections]
//! ```
//! Every edge is cut by hash ranges, and what crosses it is folded on the sending worker: a viral ad costs one record a worker,
//! window and epoch.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::core::Input as _;
use timely::dataflow::operators::core::input::Handle;
use timely::dataflow::{Scope, Stream};

use crate::domain::fact::Fact;
use crate::operators::arrangements::Arrangements;
use crate::operators::context::Context;
use crate::operators::packet::Packet;
use crate::operators::publish::{Publish, publish};
use crate::operators::records::{RowUpdate, UniqueUpdate, VisitUpdate};
use crate::operators::resolve::resolve;
use crate::operators::uniques::uniques;

type Facts<'s> = Stream<'s, u64, Packet<Fact>>;
type Rows<'s> = Stream<'s, u64, Packet<RowUpdate>>;
type Visits<'s> = Stream<'s, u64, Packet<VisitUpdate>>;
type Users<'s> = Stream<'s, u64, Packet<UniqueUpdate>>;

/// Where a worker's facts go in, an epoch after the other.
pub(crate) type FactInput = Handle<u64, CapacityContainerBuilder<Packet<Fact>>>;

/// Builds a worker's part of the graph, which goes on from `epoch` and from what the arrangements hold after it.
pub(crate) fn build(
    scope: Scope<'_, u64>,
    epoch: u64,
    context: &Rc<Context>,
    arrangements: &Rc<Arrangements>,
    publisher: impl Publish + 'static,
) -> FactInput {
    let (input, facts): (FactInput, Facts<'_>) = scope.new_input();
    let (rows, visits): (Rows<'_>, Visits<'_>) = resolve(facts, context, arrangements);
    let users: Users<'_> = uniques(visits, context, arrangements);
    publish(rows, users, epoch, context, arrangements, publisher);
    input
}
