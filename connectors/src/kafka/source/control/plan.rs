//! A look at the topics: what is new, what is missing, and what was accepted.

use std::collections::BTreeMap;

use super::super::check::{Gap, gap_of_offsets, gap_of_topic};
use super::super::native::TopicDescription;
use super::super::{AcceptedGap, KafkaSourceError, Start, Topic};
use super::Control;
use crate::kafka::KafkaError;
use crate::streams::{Change, EndReason, Stream};

type Topics = BTreeMap<String, TopicDescription>;

impl Control {
    /// Looks at all topics; reads what is new. `is_first` looks also at the offsets of what was read before.
    pub(super) fn look(&mut self, is_first: bool) -> Result<(), KafkaSourceError> {
        if !self.list.is_written() {
            self.list.refresh()?;
            self.publish();
        }
        let topics = self.ask_for_topics()?;
        let going_on: Vec<u16> =
            (0..self.list.all().len()).map(|number| number as u16).filter(|at| self.list.end(*at).is_none()).collect();
        let mut gaps: Vec<Gap> = Vec::new();
        for &number in &going_on {
            gaps.extend(self.gap(number, &topics)?);
        }
        let mut change = Change::default();
        for gap in self.accept(gaps)? {
            change.ends.push(gap.accepted());
        }
        if self.list.is_written() {
            self.begin_streams(&topics, &mut change)?;
        }
        if !change.ends.is_empty() || !change.begins.is_empty() {
            self.list.add(change)?;
            self.publish();
        }
        if is_first {
            self.check_all_found()?;
        }
        let is_new = |number: &u16| self.list.end(*number).is_none() && !self.reading.contains_key(number);
        let is_there = |number: &u16| topics.contains_key(&self.list.all()[usize::from(*number)].topic);
        let new: Vec<u16> =
            (0..self.list.all().len()).map(|number| number as u16).filter(is_new).filter(is_there).collect();
        self.assign(&new)
    }

    fn ask_for_topics(&self) -> Result<Topics, KafkaSourceError> {
        let read = self.list.all().iter().enumerate().filter(|(number, _)| self.list.end(*number as u16).is_none());
        let names = read.map(|(_, stream)| stream.topic.as_str());
        let names: Vec<&str> = names.chain(self.settings.topics.iter().map(|topic| topic.name.as_str())).collect();
        self.broker.topics(&names)
    }

    fn is_configured(&self, topic: &str) -> bool {
        self.settings.topics.iter().any(|one| one.name == topic)
    }

    /// What is missing of a stream. Where it is being read the broker says by itself when an offset is not there.
    fn gap(&self, number: u16, topics: &Topics) -> Result<Option<Gap>, KafkaSourceError> {
        let (stream, standing) = (&self.list.all()[usize::from(number)], self.standing(number));
        let found = topics.get(&stream.topic);
        if found.is_none() && !self.is_configured(&stream.topic) && standing.bound <= standing.next {
            // Nobody wants it any more, and nothing of it is needed.
            return Ok(None);
        }
        let mut gap = gap_of_topic(stream, standing, found);
        if gap.is_none() && !self.reading.contains_key(&number) {
            gap = gap_of_offsets(standing, self.broker.offsets(&stream.topic, stream.partition)?);
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
    fn accept(&mut self, gaps: Vec<Gap>) -> Result<Vec<Gap>, KafkaSourceError> {
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
        for (gap, name) in &accepted {
            tracing::warn!(gap = %name, reason = ?gap.reason, "records are missing, and that was accepted: the stream ends here");
            self.accepted.retain(|one| one != name);
        }
        Ok(accepted.into_iter().map(|(gap, _)| gap).collect())
    }

    /// Refuses gaps that were accepted and are not there.
    fn check_all_found(&mut self) -> Result<(), KafkaSourceError> {
        for gap in std::mem::take(&mut self.accepted) {
            let mut ends = self.list.ends();
            let is_it = |stream: &Stream| stream.is_of(&gap.topic, gap.partition);
            if ends.any(|end| end.at == gap.at && is_it(&self.list.all()[usize::from(end.stream)])) {
                tracing::warn!(%gap, "this gap was accepted at an earlier start; take --accept-gap out");
                continue;
            }
            let why = self.why_no_gap(&gap);
            return Err(KafkaSourceError::NoSuchGap { gap, why });
        }
        Ok(())
    }

    fn why_no_gap(&self, gap: &AcceptedGap) -> String {
        match self.list.current(&gap.topic, gap.partition) {
            Some(stream) => {
                format!("reading goes on at offset {}, and nothing is missing there", self.standing(stream).next)
            }
            None => "no such partition is read".to_owned(),
        }
    }

    /// Adds the partitions that are configured and in no stream.
    fn begin_streams(&self, topics: &Topics, change: &mut Change) -> Result<(), KafkaSourceError> {
        for topic in &self.settings.topics {
            let Some(found) = topics.get(&topic.name) else {
                let has_ended =
                    change.ends.iter().any(|end| self.list.all()[usize::from(end.stream)].topic == topic.name);
                let was_read = self.list.all().iter().any(|stream| stream.topic == topic.name);
                match has_ended || was_read {
                    // What was read of it has ended, by somebody's word; it is read again when it is there again.
                    true => continue,
                    false => return Err(KafkaError::NoTopic { topic: topic.name.clone() }.into()),
                }
            };
            for partition in 0..found.partitions {
                change.begins.extend(self.begin(topic, found, partition, change)?);
            }
        }
        Ok(())
    }

    /// The stream of a partition that is in none.
    fn begin(
        &self,
        topic: &Topic,
        found: &TopicDescription,
        partition: i32,
        change: &Change,
    ) -> Result<Option<Stream>, KafkaSourceError> {
        let current = self.list.current(&topic.name, partition);
        let ended = current.and_then(|stream| change.ends.iter().find(|end| end.stream == stream));
        let first_offset = match (current, ended) {
            (Some(_), None) => return Ok(None),
            (Some(_), Some(end)) => match (end.reason, end.until) {
                (EndReason::Removed | EndReason::Truncated, Some(until)) => until,
                _ => self.broker.offsets(&topic.name, partition)?.0,
            },
            // A topic that was read before gets new partitions, and these are read whole.
            (None, _) if self.list.all().iter().any(|stream| stream.topic == topic.name) => {
                self.broker.offsets(&topic.name, partition)?.0
            }
            (None, _) => self.start_of(&topic.name, partition)?,
        };
        let (topic, format, topic_id) = (topic.name.clone(), topic.format.to_string(), found.id.clone());
        Ok(Some(Stream { topic, topic_id, partition, format, first_offset }))
    }

    fn start_of(&self, topic: &str, partition: i32) -> Result<u64, KafkaSourceError> {
        let (low, end) = self.broker.offsets(topic, partition)?;
        Ok(match &self.settings.start {
            Start::Earliest => low,
            Start::Latest => end,
            Start::Time(ms) => self.broker.offset_of_time(topic, partition, *ms)?.unwrap_or(end),
            Start::Offsets(offsets) => offsets.get(&(topic.to_owned(), partition)).copied().unwrap_or(low),
        })
    }
}
