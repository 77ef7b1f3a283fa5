//! A look at the topics: what is new, what is missing, and what was accepted. It changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::check::{Gap, Standing, gap_of_offsets, gap_of_topic};
use super::super::native::TopicDescription;
use super::super::stats::StreamStats;
use super::super::{AcceptedGap, KafkaSourceError, KafkaSourceSettings, Start, Topic};
use super::Positions;
use super::absent::{Absent, Leaders};
use super::ask::Cluster;
use crate::kafka::KafkaError;
use crate::streams::{Change, EndReason, Stream, Streams};

type Topics = BTreeMap<String, TopicDescription>;

/// What is looked at.
pub(super) struct Look<'a> {
    pub(super) settings: &'a KafkaSourceSettings,
    pub(super) cluster: &'a Cluster,
    pub(super) list: &'a Streams,
    /// Whether streams may begin.
    pub(super) begins: bool,
    pub(super) positions: &'a Positions,
    /// Streams that are read already.
    pub(super) reading: &'a BTreeMap<u16, Arc<StreamStats>>,
}

/// How far a stream is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// As far as there are records.
    All,
    /// Its topic is not among the settings any more: up to here, where the newest epoch stands.
    Bound(u64),
    /// The same, and no epoch needs it.
    Nothing,
}

/// What a look came to: reading can go on.
pub(super) struct Plan {
    /// What is to be added to the list of streams.
    pub(super) change: Change,
    /// The gaps that were accepted and are there.
    pub(super) accepted: Vec<(AcceptedGap, EndReason)>,
    /// The topics that are there.
    pub(super) topics: Topics,
    /// Partitions that are to be read, and that nobody answers for.
    pub(super) absent: Vec<Absent>,
}

impl Look<'_> {
    /// Where reading of a stream stands.
    pub(super) fn standing(&self, stream: u16) -> Standing {
        let Positions { checkpoint, bound } = self.positions;
        let first = self.list.all()[usize::from(stream)].first_offset;
        let read = self.reading.get(&stream).map(|stats| stats.next.load(Ordering::Relaxed));
        let next = read.or_else(|| checkpoint.get(&stream).copied()).unwrap_or(first);
        Standing { stream, next, bound: bound.get(&stream).copied().unwrap_or(first).max(next) }
    }

    /// Asks the cluster, and compares.
    ///
    /// # Errors
    /// Where reading can not go on, and where the cluster is not reached.
    pub(super) fn plan(&self) -> Result<Plan, KafkaSourceError> {
        let topics = self.ask_for_topics()?;
        let mut leaders = Leaders::new(self.cluster);
        let mut gaps: Vec<Gap> = Vec::new();
        for number in self.going_on() {
            gaps.extend(self.gap(number, &topics, &mut leaders)?);
        }
        let mut change = Change::default();
        let mut accepted = Vec::new();
        for (gap, name) in self.accept(gaps)? {
            accepted.push((name, gap.reason));
            change.ends.push(gap.accepted());
        }
        if self.begins {
            self.begin_streams(&topics, &mut change, &mut leaders)?;
        }
        Ok(Plan { change, accepted, topics, absent: leaders.into_absent() })
    }

    /// Refuses gaps that were accepted and that neither this look nor an earlier start has found. Of a partition that nobody
    /// answers for it is not known yet.
    pub(super) fn check_found(&self, accepted: &[AcceptedGap], plan: &Plan) -> Result<(), KafkaSourceError> {
        let is_known = |gap: &&AcceptedGap| !plan.is_absent(&gap.topic, gap.partition);
        let is_found = |gap: &&AcceptedGap| plan.accepted.iter().any(|(found, _)| found == *gap);
        for gap in accepted.iter().filter(is_known).filter(|gap| !is_found(gap)) {
            let is_it = |stream: &Stream| stream.is_of(&gap.topic, gap.partition);
            let mut ends = self.list.ends();
            if !ends.any(|end| end.at == gap.at && is_it(&self.list.all()[usize::from(end.stream)])) {
                return Err(KafkaSourceError::NoSuchGap { gap: gap.clone(), why: self.why_no_gap(gap, plan) });
            }
        }
        Ok(())
    }

    /// The streams that are to be read, as far as nothing has ended them.
    pub(super) fn going_on(&self) -> impl Iterator<Item = u16> {
        let numbers = (0..self.list.all().len()).map(|number| number as u16);
        numbers.filter(|number| self.list.end(*number).is_none() && self.wants(*number) != Wants::Nothing)
    }

    /// How far a stream is to be read. Whoever only reads the list makes again what was bound by others, whatever the settings say.
    pub(super) fn wants(&self, number: u16) -> Wants {
        let Standing { next, bound, .. } = self.standing(number);
        match self.is_configured(&self.list.all()[usize::from(number)].topic) {
            true => Wants::All,
            false if !self.begins => Wants::All,
            false if next < bound => Wants::Bound(bound),
            false => Wants::Nothing,
        }
    }

    fn ask_for_topics(&self) -> Result<Topics, KafkaSourceError> {
        let names = self.going_on().map(|number| self.list.all()[usize::from(number)].topic.as_str());
        let names: Vec<&str> = names.chain(self.settings.topics.iter().map(|topic| topic.name.as_str())).collect();
        self.cluster.topics(&names)
    }

    fn is_configured(&self, topic: &str) -> bool {
        self.settings.topics.iter().any(|one| one.name == topic)
    }

    /// What is missing of a stream. Where it is being read the broker says by itself when an offset is not there.
    fn gap(&self, number: u16, topics: &Topics, leaders: &mut Leaders<'_>) -> Result<Option<Gap>, KafkaSourceError> {
        let (stream, standing) = (&self.list.all()[usize::from(number)], self.standing(number));
        let found = topics.get(&stream.topic);
        let mut gap = gap_of_topic(stream, standing, found);
        if let Some(found) = found.filter(|_| gap.is_none() && !self.reading.contains_key(&number)) {
            let offsets = leaders.offsets(found, &stream.topic, stream.partition)?;
            gap = offsets.and_then(|offsets| gap_of_offsets(standing, offsets));
        }
        match gap {
            Some(_) if standing.next < standing.bound => Err(KafkaSourceError::ReplayGone {
                topic: stream.topic.clone(),
                partition: stream.partition,
                from: standing.next,
                to: standing.bound,
            }),
            gap => Ok(gap),
        }
    }

    /// The gaps that somebody has accepted; refused where there is any other.
    fn accept(&self, gaps: Vec<Gap>) -> Result<Vec<(Gap, AcceptedGap)>, KafkaSourceError> {
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for gap in gaps {
            let stream = self.list.all()[usize::from(gap.stream)].clone();
            let name = gap.name(&stream);
            // A stream that is being read has counted records since; only a start can end it.
            match self.settings.accepted_gaps.contains(&name) && !self.reading.contains_key(&gap.stream) {
                true => accepted.push((gap, name)),
                false => refused.push((gap, stream, name)),
            }
        }
        if let Some((gap, stream, _)) = refused.first().cloned() {
            let same = refused.iter().filter(|(_, other, _)| other.topic == stream.topic);
            return Err(gap.refuse(&stream, same.map(|(_, _, name)| name.clone()).collect()));
        }
        Ok(accepted)
    }

    fn why_no_gap(&self, gap: &AcceptedGap, plan: &Plan) -> String {
        let begins = plan.change.begins.iter().find(|stream| stream.is_of(&gap.topic, gap.partition));
        let goes_on = || self.list.current(&gap.topic, gap.partition).map(|stream| self.standing(stream).next);
        match begins.map(|stream| stream.first_offset).or_else(goes_on) {
            Some(next) => format!("reading goes on at offset {next}, and nothing is missing there"),
            None => "no such partition is read".to_owned(),
        }
    }

    /// Adds the partitions that are configured and in no stream. A topic that was never read begins with all of its partitions at
    /// once: those that came later would be taken for new ones, which are read whole.
    fn begin_streams(
        &self,
        topics: &Topics,
        change: &mut Change,
        leaders: &mut Leaders<'_>,
    ) -> Result<(), KafkaSourceError> {
        for topic in &self.settings.topics {
            let was_read = self.list.all().iter().any(|stream| stream.topic == topic.name);
            let Some(found) = topics.get(&topic.name) else {
                match was_read {
                    // What was read of it has ended, by somebody's word; it is read again when it is there again.
                    true => continue,
                    false => return Err(KafkaError::NoTopic { topic: topic.name.clone() }.into()),
                }
            };
            let mut begins = Vec::new();
            for partition in 0..found.partitions {
                begins.extend(self.begin(topic, found, partition, change, leaders)?);
            }
            if was_read || !leaders.lacks(&topic.name) {
                change.begins.extend(begins);
            }
        }
        Ok(())
    }

    /// The stream of a partition that is in none; `None` too where nobody answers for it.
    fn begin(
        &self,
        topic: &Topic,
        found: &TopicDescription,
        partition: i32,
        change: &Change,
        leaders: &mut Leaders<'_>,
    ) -> Result<Option<Stream>, KafkaSourceError> {
        let current = self.list.current(&topic.name, partition);
        let ended = current.and_then(|stream| change.ends.iter().find(|end| end.stream == stream));
        let first_offset = match (current, ended) {
            (Some(_), None) => return Ok(None),
            (Some(_), Some(end)) => match (end.reason, end.until) {
                (EndReason::Removed | EndReason::Truncated, Some(until)) => Some(until),
                _ => leaders.low(found, &topic.name, partition)?,
            },
            // A topic that was read before gets new partitions, and these are read whole.
            (None, _) if self.list.all().iter().any(|stream| stream.topic == topic.name) => {
                leaders.low(found, &topic.name, partition)?
            }
            (None, _) => self.start_of(found, &topic.name, partition, leaders)?,
        };
        let Some(first_offset) = first_offset else { return Ok(None) };
        let (topic, format, topic_id) = (topic.name.clone(), topic.format.to_string(), found.id.clone());
        Ok(Some(Stream { topic, topic_id, partition, format, first_offset }))
    }

    /// Where a partition begins that was never read; `None` where nobody answers for it.
    fn start_of(
        &self,
        found: &TopicDescription,
        topic: &str,
        partition: i32,
        leaders: &mut Leaders<'_>,
    ) -> Result<Option<u64>, KafkaSourceError> {
        let Some((low, end)) = leaders.offsets(found, topic, partition)? else { return Ok(None) };
        Ok(match &self.settings.start {
            Start::Earliest => Some(low),
            Start::Latest => Some(end),
            Start::Time(ms) => leaders.offset_of_time(found, (topic, partition), *ms, end)?,
            // Looked at before it is written down: a stream that has begun can not be moved.
            Start::Offsets(offsets) => match offsets.get(&(topic.to_owned(), partition)) {
                Some(&start) if start < low || end < start => {
                    return Err(KafkaSourceError::NoSuchStart { topic: topic.to_owned(), partition, start, low, end });
                }
                start => Some(start.copied().unwrap_or(low)),
            },
        })
    }
}

impl Plan {
    /// Whether nobody answers for a partition.
    pub(super) fn is_absent(&self, topic: &str, partition: i32) -> bool {
        self.absent.iter().any(|absent| absent.is(topic, partition))
    }
}
