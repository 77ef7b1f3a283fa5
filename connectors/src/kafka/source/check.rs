//! Whether reading can go on where it stands: decided from what the broker says, apart from asking it.

use super::error::KafkaSourceError;
use super::native::TopicDescription;
use super::settings::AcceptedGap;
use crate::streams::{EndReason, Stream, StreamEnd};

/// Where reading of a stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) stream: u16,
    /// The next offset to be read.
    pub(super) next: u64,
    /// How far the newest epoch reaches.
    pub(super) bound: u64,
}

/// What is wrong where reading can not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) stream: u16,
    /// The next offset that would have been read.
    pub(super) at: u64,
    pub(super) reason: EndReason,
    /// Where what is there begins, or ends where it was cut.
    pub(super) there: u64,
    /// The topic's id now.
    pub(super) topic_id: Option<String>,
}

/// Looks at the topic alone.
pub(super) fn gap_of_topic(stream: &Stream, at: Standing, found: Option<&TopicDescription>) -> Option<Gap> {
    let Standing { stream: number, next, .. } = at;
    let (reason, topic_id) = match found {
        None => (EndReason::Deleted, None),
        Some(topic) if topic.id != stream.topic_id => (EndReason::Recreated, Some(topic.id.clone())),
        // Partitions are never taken away; a topic with fewer is another one.
        Some(topic) if topic.partitions <= stream.partition => (EndReason::Deleted, Some(topic.id.clone())),
        Some(_) => return None,
    };
    Some(Gap { stream: number, at: next, reason, there: 0, topic_id })
}

/// Looks at the partition: its first offset, and the one behind its last.
pub(super) fn gap_of_offsets(at: Standing, (low, end): (u64, u64)) -> Option<Gap> {
    let Standing { stream, next, .. } = at;
    let gap = |reason, there| Some(Gap { stream, at: next, reason, there, topic_id: None });
    match next {
        next if next < low => gap(EndReason::Removed, low),
        next if end < next => gap(EndReason::Truncated, end),
        _ => None,
    }
}

impl Gap {
    /// What is recorded where it is accepted.
    pub(super) fn accepted(&self) -> StreamEnd {
        let until = match self.reason {
            EndReason::Removed | EndReason::Truncated => Some(self.there),
            EndReason::Recreated | EndReason::Deleted => None,
        };
        StreamEnd { stream: self.stream, at: self.at, until, reason: self.reason }
    }

    /// How it is named to be accepted.
    pub(super) fn name(&self, stream: &Stream) -> AcceptedGap {
        AcceptedGap { topic: stream.topic.clone(), partition: stream.partition, at: self.at }
    }

    /// The refusal. `gaps` are all of the same topic that nobody has accepted.
    pub(super) fn refuse(self, stream: &Stream, gaps: Vec<AcceptedGap>) -> KafkaSourceError {
        let (topic, partition, wanted) = (stream.topic.clone(), stream.partition, self.at);
        match self.reason {
            EndReason::Removed => KafkaSourceError::Removed { topic, partition, wanted, low: self.there },
            EndReason::Truncated => KafkaSourceError::Truncated { topic, partition, wanted, end: self.there },
            EndReason::Recreated => KafkaSourceError::Recreated {
                topic,
                was: stream.topic_id.clone(),
                is: self.topic_id.unwrap_or_default(),
                gaps,
            },
            EndReason::Deleted => KafkaSourceError::Deleted { topic, gaps },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stream() -> Stream {
        Stream { topic: "clicks".into(), topic_id: "A".into(), partition: 3, format: "event".into(), first_offset: 0 }
    }

    fn topic(id: &str, partitions: i32) -> TopicDescription {
        TopicDescription { id: id.into(), partitions, leaders: BTreeMap::new(), rights: None }
    }

    const AT: Standing = Standing { stream: 0, next: 100, bound: 100 };

    #[test]
    fn a_topic_is_known_by_its_id() {
        let reason =
            |found: Option<TopicDescription>| gap_of_topic(&stream(), AT, found.as_ref()).map(|gap| gap.reason);
        assert_eq!(reason(Some(topic("A", 4))), None);
        assert_eq!(reason(Some(topic("B", 4))), Some(EndReason::Recreated));
        assert_eq!(reason(Some(topic("A", 3))), Some(EndReason::Deleted));
        assert_eq!(reason(None), Some(EndReason::Deleted));
    }

    #[test]
    fn reading_goes_on_from_the_first_offset_to_the_end() {
        let gap = |offsets| gap_of_offsets(AT, offsets);
        assert_eq!(gap((0, 100)), None);
        assert_eq!(gap((100, 200)), None);
        let removed = gap((101, 200)).expect("one is gone");
        assert_eq!(removed.accepted(), StreamEnd { stream: 0, at: 100, until: Some(101), reason: EndReason::Removed });
        let cut = gap((0, 99)).expect("it was cut");
        assert_eq!(cut.accepted(), StreamEnd { stream: 0, at: 100, until: Some(99), reason: EndReason::Truncated });
        let said = removed.refuse(&stream(), vec![]).to_string();
        assert!(said.contains("--accept-gap clicks/3@100") && said.contains("removed 1 offsets"), "{said}");
    }

    #[test]
    fn a_topic_made_anew_says_all_that_has_to_be_accepted() {
        let gap = gap_of_topic(&stream(), AT, Some(&topic("B", 4))).expect("it is another");
        let name = gap.name(&stream());
        let said = gap.refuse(&stream(), vec![name.clone(), AcceptedGap { partition: 4, ..name }]).to_string();
        assert!(said.ends_with("recount serve --accept-gap clicks/3@100 --accept-gap clicks/4@100"), "{said}");
        assert!(said.contains("its id was A, and is B"), "{said}");
    }
}
