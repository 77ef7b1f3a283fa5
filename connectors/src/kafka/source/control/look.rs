//! Looking at the topics: before a start, where nothing may change yet; and again and again while they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{KafkaSourceError, KafkaSourceSettings, Resume};
use super::ask::Broker;
use super::plan::{Look, Plan};
use super::{Control, Positions, check_formats};
use crate::kafka::Client;
use crate::streams::Streams;

/// Looks whether a writer of the list could go on from where reading stands, and changes nothing. Where the cluster is not reached
/// nothing is known, and that is no reason to refuse: reads go on without it.
///
/// # Errors
/// Where streams are missing in the list, where settings can not be used or are not those that the streams were read with, and where
/// reading can not go on.
pub fn look(settings: &KafkaSourceSettings, list: &Streams, resume: Resume<'_>) -> Result<(), KafkaSourceError> {
    list.check_holds(resume.positions.iter().chain(resume.bound))?;
    check_formats(settings, list)?;
    let client = Client::new(&settings.client)?;
    let broker = Broker::connect(&client, settings, Arc::default())?;
    let (positions, reading) = (Positions::of(resume), BTreeMap::new());
    let look = Look { settings, broker: &broker, list, begins: true, positions: &positions, reading: &reading };
    let planned = look.plan().and_then(|plan| look.check_found(&settings.accepted_gaps, &plan));
    match planned {
        Err(error) if error.is_retryable() => {
            tracing::warn!(%error, "whether reading can go on is not known before the Kafka cluster is reached");
            Ok(())
        }
        planned => planned,
    }
}

impl Control {
    /// Looks at all topics; reads what is new. `is_first` looks also for gaps that were accepted.
    pub(super) fn look(&mut self, is_first: bool) -> Result<(), KafkaSourceError> {
        if !self.list.is_written() {
            self.list.refresh()?;
            self.publish();
        }
        let look = self.what_to_look_at();
        let plan = look.plan()?;
        if is_first {
            look.check_found(&self.accepted, &plan)?;
        }
        let Plan { change, accepted, topics } = plan;
        for (gap, reason) in &accepted {
            tracing::warn!(%gap, ?reason, "records are missing, and that was accepted: the stream ends here");
        }
        if !change.ends.is_empty() || !change.begins.is_empty() {
            self.list.add(change)?;
            self.publish();
        }
        self.accepted.retain(|gap| accepted.iter().all(|(found, _)| found != gap));
        if is_first {
            for gap in std::mem::take(&mut self.accepted) {
                tracing::warn!(%gap, "this gap was accepted at an earlier start; take --accept-gap out");
            }
        }
        let is_new = |number: &u16| self.list.end(*number).is_none() && !self.reading.contains_key(number);
        let is_there = |number: &u16| topics.contains_key(&self.list.all()[usize::from(*number)].topic);
        let new: Vec<u16> =
            (0..self.list.all().len()).map(|number| number as u16).filter(is_new).filter(is_there).collect();
        self.assign(&new)
    }
}
