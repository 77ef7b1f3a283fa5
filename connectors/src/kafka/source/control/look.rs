//! Looking at the topics: before a start, where nothing may change yet; and again and again while they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::native::TopicDescription;
use super::super::share::Share;
use super::super::shared::News;
use super::super::stats::StreamStats;
use super::super::{AcceptedGap, KafkaSourceError, KafkaSourceSettings, Resume};
use super::ask::Cluster;
use super::plan::{Look, Plan, Wants};
use super::{Control, Positions, check_formats};
use crate::kafka::Client;
use crate::streams::{Stream, Streams};

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
    let share = Share::of(settings.prefetch_bytes, list.all().len());
    let cluster = Cluster::connect(&client, settings, share, Arc::default())?;
    let (positions, reading) = (Positions::of(resume), BTreeMap::new());
    let look = Look { settings, cluster: &cluster, list, begins: true, positions: &positions, reading: &reading };
    let unknown =
        |error| tracing::warn!(%error, "whether reading can go on is not known before the Kafka cluster is reached");
    match look.plan() {
        Err(error) if error.is_retryable() => unknown(error),
        Err(error) => return Err(error),
        Ok(plan) => {
            look.check_found(&settings.accepted_gaps, &plan)?;
            plan.absent.iter().for_each(|absent| unknown(absent.error()));
        }
    }
    Ok(())
}

impl Control {
    /// Looks at all topics; reads what is new.
    pub(super) fn look(&mut self) -> Result<(), KafkaSourceError> {
        if !self.list.is_written() {
            self.list.refresh()?;
            self.publish();
        }
        let look = self.what_to_look_at();
        let plan = look.plan()?;
        look.check_found(&self.accepted, &plan)?;
        self.note_absent(&plan);
        let was_accepted = |gap: &AcceptedGap| !plan.is_absent(&gap.topic, gap.partition);
        for gap in self.accepted.extract_if(.., |gap| was_accepted(gap)) {
            if plan.accepted.iter().all(|(found, _)| *found != gap) {
                tracing::warn!(%gap, "this gap was accepted at an earlier start; take --accept-gap out");
            }
        }
        let Plan { change, accepted, topics, absent } = plan;
        for (gap, reason) in &accepted {
            tracing::warn!(%gap, ?reason, "records are missing, and that was accepted: the stream ends here");
        }
        if !change.ends.is_empty() || !change.begins.is_empty() {
            self.list.add(change)?;
            self.publish();
        }
        for stats in self.reading.values() {
            // Who is at the end of a partition gets no record that would show it.
            if topics.get(stats.place().0).is_some_and(TopicDescription::may_be_read) {
                stats.allow();
            }
        }
        self.let_go()?;
        self.say_what_is_left_out();
        let is_new = |number: &u16| !self.reading.contains_key(number);
        let is_there = |number: &u16| {
            let stream = &self.list.all()[usize::from(*number)];
            topics.contains_key(&stream.topic) && !absent.iter().any(|one| one.is(&stream.topic, stream.partition))
        };
        let new: Vec<u16> = self.what_to_look_at().going_on().filter(is_new).filter(is_there).collect();
        if self.reading.is_empty() && !new.is_empty() {
            self.share_among(topics.values().map(|topic| topic.partitions as usize).sum())?;
        }
        self.assign(&new)
    }

    /// Reads no further what was only to be made again.
    fn let_go(&mut self) -> Result<(), KafkaSourceError> {
        let is_done = |number: &u16| self.what_to_look_at().wants(*number) == Wants::Nothing;
        let done: Vec<u16> = self.reading.keys().copied().filter(is_done).collect();
        for number in done {
            let next = self.what_to_look_at().standing(number).next;
            self.positions.checkpoint.insert(number, next);
            self.reading.remove(&number);
            let stream = &self.list.all()[usize::from(number)];
            self.cluster.unassign(&stream.topic, stream.partition)?;
        }
        Ok(())
    }

    /// Says once which topics were read before, and are not any more.
    fn say_what_is_left_out(&mut self) {
        if std::mem::replace(&mut self.has_said_left_out, true) || !self.list.is_written() {
            return;
        }
        let goes_on = |(number, _): &(usize, &Stream)| self.list.end(*number as u16).is_none();
        let topics = self.list.all().iter().enumerate().filter(goes_on).map(|(_, stream)| stream.topic.as_str());
        let left_out: BTreeSet<&str> =
            topics.filter(|topic| !self.settings.topics.iter().any(|one| one.name == *topic)).collect();
        for topic in left_out {
            tracing::warn!(
                topic,
                "this topic is not among source.kafka.topics any more, and is not read; what was counted of it stays, and it goes on \
                 from there when it is among them again"
            );
        }
    }

    /// Lets everybody know who is not there: before others are read, which wait for it.
    fn note_absent(&mut self, plan: &Plan) {
        for absent in &plan.absent {
            if self.absent.iter().all(|before| !before.is(&absent.topic, absent.partition)) {
                tracing::warn!(error = %absent.error(), "a partition is not read; it is tried again, and others wait for it");
                let stats = Arc::new(StreamStats::absent(&absent.topic, absent.partition));
                self.shared.stats.add(Arc::clone(&stats));
                self.shared.tell(News::Absent(stats));
            }
        }
        self.absent.clone_from(&plan.absent);
    }
}
