//! What of a topic's settings would cost records, or keep them from coming in.

use super::{CheckSettings, Role, TopicReport};
use crate::kafka::Rights;
use crate::kafka::source::TopicFormat;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Recount can not work so.
    Failure,
    /// It works, and something may be lost that somebody relies on.
    Warning,
}

/// Something that should be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A stable name, for example `retention_short`.
    pub name: &'static str,
    /// The topic.
    pub topic: String,
    /// What is so, what follows, and what to do.
    pub message: String,
}

/// The topic is not there.
pub(super) fn missing(topic: &str, role: &Role) -> Finding {
    let (level, message) = match role {
        Role::Read { .. } => {
            (Level::Failure, "there is no such topic, or this user may not see it; make it, or correct its name")
        }
        Role::Write { .. } | Role::Progress => {
            (Level::Warning, "there is no such topic; it is made at the first start, if this user may")
        }
    };
    Finding { level, name: "topic_missing", topic: topic.to_owned(), message: message.to_owned() }
}

/// All that is to be said of one topic.
pub(super) fn of_topic(topic: &TopicReport, role: &Role, settings: &CheckSettings) -> Vec<Finding> {
    let mut found = Found { topic: &topic.name, findings: Vec::new() };
    found.of_replicas(topic, role.is_written());
    match role {
        Role::Read { format } => {
            found.of_records(topic);
            found.of_timestamps(topic, settings.max_future_skew_ms);
            found.of_retention(topic, settings.correction_horizon_ms);
            found.of_compaction(topic, settings.restart_ms);
            if topic.cleanup().is_some_and(|policy| policy.contains("compact")) && *format != TopicFormat::Verdict {
                found.warning(
                    "compacted",
                    "cleanup.policy holds compact: of records with one key only the last stays, and \
                    a replay does not see the others; right for verdicts by click_id, wrong for clicks by ad"
                        .to_owned(),
                );
            }
        }
        Role::Write { compacted } => found.of_cleanup(topic, *compacted),
        Role::Progress => found.of_cleanup(topic, true),
    }
    if let Some(Rights { read, write, .. }) = topic.rights {
        if role.is_read() && !read {
            found.failure("read_refused", "this user may not read it (Read)".to_owned());
        }
        if role.is_written() && !write {
            found.failure("write_refused", "this user may not write to it (Write)".to_owned());
        }
    }
    if topic.settings.is_empty() {
        found.warning(
            "settings_hidden",
            "this user may not see the topic's settings (DescribeConfigs), so retention and \
            cleanup.policy are not checked"
                .to_owned(),
        );
    }
    found.findings
}

struct Found<'a> {
    topic: &'a str,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn failure(&mut self, name: &'static str, message: String) {
        self.findings.push(Finding { level: Level::Failure, name, topic: self.topic.to_owned(), message });
    }

    fn warning(&mut self, name: &'static str, message: String) {
        self.findings.push(Finding { level: Level::Warning, name, topic: self.topic.to_owned(), message });
    }

    fn of_replicas(&mut self, topic: &TopicReport, is_written: bool) {
        let TopicReport { replicas, in_sync, leaderless, partitions, .. } = topic;
        if *leaderless > 0 {
            self.failure("no_leader", format!("{leaderless} of {partitions} partitions have no leader now"));
        }
        let needed = topic.number("min.insync.replicas").unwrap_or(1).max(1) as usize;
        if *replicas < needed {
            let message = format!(
                "min.insync.replicas is {needed}, and a partition has {replicas} replicas: nothing can \
                be written with acks=all"
            );
            self.failure("min_insync_unreachable", message);
        } else if is_written && *in_sync < needed {
            self.failure("min_insync", format!("{in_sync} replicas are in sync, and writing needs {needed}"));
        } else if in_sync < replicas {
            self.warning("under_replicated", format!("of {replicas} replicas {in_sync} are in sync"));
        }
        match replicas {
            0 | 1 => self.warning(
                "replication_one",
                "there is one replica: what is acknowledged is lost with its \
                broker's disk; three are usual"
                    .to_owned(),
            ),
            2.. if needed < 2 => self.warning(
                "min_insync_one",
                "min.insync.replicas is 1: what is acknowledged may be on \
                one broker alone; 2 is usual"
                    .to_owned(),
            ),
            _ => {}
        }
    }

    fn of_records(&mut self, topic: &TopicReport) {
        if let Some(refusal) = &topic.unreadable {
            self.failure("unreadable", refusal.clone());
        }
        let (broken, problem) = &topic.broken;
        let problem = problem.as_deref().unwrap_or_default();
        let format = topic.format.map(TopicFormat::as_str).unwrap_or_default();
        match (*broken, topic.sampled) {
            (0, _) => {}
            (broken, sampled) if broken == sampled => self.failure(
                "format",
                format!("none of the {sampled} records looked at can be read as {format}: {problem}"),
            ),
            (broken, sampled) => self.warning(
                "format_some",
                format!("{broken} of {sampled} records looked at can not be read as {format}, and would be set aside: {problem}"),
            ),
        }
    }

    fn of_timestamps(&mut self, topic: &TopicReport, skew_ms: i64) {
        if topic.setting("message.timestamp.type") != Some("CreateTime") {
            return;
        }
        let ahead_ms = topic.number("message.timestamp.after.max.ms").unwrap_or(i64::MAX);
        if skew_ms < ahead_ms {
            self.warning(
                "timestamps_ahead",
                format!(
                    "when a record arrived is what its producer's clock says (message.timestamp.type), and the broker takes what is up to \
                {ahead_ms} ms ahead: a wrong clock can move the watermark, and make everybody else's clicks late; make \
                message.timestamp.after.max.ms at most {skew_ms} (rules.max_future_skew)"
                ),
            );
        }
    }

    fn of_retention(&mut self, topic: &TopicReport, horizon_ms: i64) {
        if !topic.cleanup().is_some_and(|policy| policy.contains("delete")) {
            return;
        }
        let hours = |ms: i64| ms / 3_600_000;
        if let Some(retention_ms) = topic.number("retention.ms").filter(|ms| (0..horizon_ms).contains(ms)) {
            let (retention, horizon) = (hours(retention_ms), hours(horizon_ms));
            self.warning(
                "retention_short",
                format!(
                    "records are deleted after {retention} h (retention.ms), and a replay \
                may need those of {horizon} h (rules.correction_horizon); keep them at least as long"
                ),
            );
        }
        if let Some(bytes) = topic.number("retention.bytes").filter(|bytes| *bytes >= 0) {
            self.warning(
                "retention_bytes",
                format!(
                    "records are deleted once a partition has more than {bytes} bytes \
                (retention.bytes), however young they are"
                ),
            );
        }
    }

    fn of_compaction(&mut self, topic: &TopicReport, restart_ms: i64) {
        if !topic.cleanup().is_some_and(|policy| policy.contains("compact")) {
            return;
        }
        if let Some(lag_ms) = topic.number("min.compaction.lag.ms").filter(|lag_ms| *lag_ms < restart_ms) {
            self.warning(
                "compaction_early",
                format!(
                    "records may be compacted {lag_ms} ms after they were written (min.compaction.lag.ms), and a start needs \
                those that no checkpoint holds; keep them at least {restart_ms} ms, which is the checkpoints that are kept and an \
                hour, or longer where the service may be away for longer"
                ),
            );
        }
    }

    fn of_cleanup(&mut self, topic: &TopicReport, compacted: bool) {
        match (topic.cleanup(), compacted) {
            (Some(policy), true) if policy != "compact" => self.failure("not_compacted", format!(
                "cleanup.policy is {policy:?}, and a row that does not change for long would be lost; make it compact"
            )),
            (Some(policy), false) if policy.contains("compact") => self.failure("compacted", format!(
                "cleanup.policy is {policy:?}, and of messages with one key only the last would stay; make it delete"
            )),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn topic(settings: &[(&str, &str)]) -> TopicReport {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TopicReport { name: "t".into(), partitions: 1, replicas: 3, in_sync: 3, settings, ..TopicReport::default() }
    }

    fn read() -> Role {
        Role::Read { format: TopicFormat::Event }
    }

    fn names(topic: &TopicReport, role: &Role) -> Vec<&'static str> {
        let settings = CheckSettings {
            topics: Vec::new(),
            correction_horizon_ms: 7 * DAY_MS,
            max_future_skew_ms: 300_000,
            restart_ms: 60_000,
            wait: Duration::ZERO,
        };
        of_topic(topic, role, &settings).into_iter().map(|finding| finding.name).collect()
    }

    #[test]
    fn a_topic_that_keeps_what_it_has_is_fine() {
        let fine = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("min.insync.replicas", "2"),
        ];
        assert_eq!(names(&topic(&fine), &read()), Vec::<&str>::new());
        let week = [("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("min.insync.replicas", "2")];
        assert_eq!(names(&topic(&week), &read()), Vec::<&str>::new());
    }

    #[test]
    fn what_would_be_lost_is_named() {
        let short = [("cleanup.policy", "delete"), ("retention.ms", "604799999"), ("retention.bytes", "1000")];
        assert_eq!(names(&topic(&short), &read()), ["min_insync_one", "retention_short", "retention_bytes"]);
        let compact = [("cleanup.policy", "compact"), ("retention.ms", "1"), ("min.insync.replicas", "2")];
        assert_eq!(names(&topic(&compact), &read()), ["compacted"]);
        assert_eq!(names(&topic(&compact), &Role::Write { compacted: true }), Vec::<&str>::new());
        assert_eq!(names(&topic(&compact), &Role::Write { compacted: false }), ["compacted"]);
        let delete = [("cleanup.policy", "compact,delete"), ("min.insync.replicas", "2")];
        assert_eq!(names(&topic(&delete), &Role::Write { compacted: true }), ["not_compacted"]);
    }

    #[test]
    fn what_a_start_needs_must_not_be_compacted_whatever_the_format() {
        let settings = |lag_ms| {
            topic(&[("cleanup.policy", "compact"), ("min.insync.replicas", "2"), ("min.compaction.lag.ms", lag_ms)])
        };
        let verdicts = Role::Read { format: TopicFormat::Verdict };
        assert_eq!(names(&settings("59999"), &verdicts), ["compaction_early"]);
        assert_eq!(names(&settings("60000"), &verdicts), Vec::<&str>::new());
        assert_eq!(names(&settings("0"), &read()), ["compaction_early", "compacted"]);
        assert_eq!(names(&settings("0"), &Role::Write { compacted: true }), Vec::<&str>::new());
    }

    #[test]
    fn clocks_that_may_run_ahead_are_named() {
        let settings = |kind, after_ms| {
            topic(&[
                ("message.timestamp.type", kind),
                ("message.timestamp.after.max.ms", after_ms),
                ("min.insync.replicas", "2"),
            ])
        };
        assert_eq!(names(&settings("CreateTime", "300001"), &read()), ["timestamps_ahead"]);
        assert_eq!(names(&settings("CreateTime", "300000"), &read()), Vec::<&str>::new());
        assert_eq!(names(&settings("LogAppendTime", "3600000"), &read()), Vec::<&str>::new());
        assert_eq!(names(&settings("CreateTime", "3600000"), &Role::Write { compacted: false }), Vec::<&str>::new());
        let old = topic(&[("message.timestamp.type", "CreateTime"), ("min.insync.replicas", "2")]);
        assert_eq!(names(&old, &read()), ["timestamps_ahead"]);
    }

    #[test]
    fn too_few_replicas_fail_where_something_is_written() {
        let settings = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("min.insync.replicas", "2")];
        let behind = TopicReport { in_sync: 1, ..topic(&settings) };
        assert_eq!(names(&behind, &Role::Write { compacted: false }), ["min_insync"]);
        assert_eq!(names(&behind, &read()), ["under_replicated"]);
        let one = TopicReport { replicas: 1, in_sync: 1, leaderless: 1, ..topic(&settings) };
        assert_eq!(names(&one, &read()), ["no_leader", "min_insync_unreachable", "replication_one"]);
    }

    #[test]
    fn broken_samples_fail_where_all_are() {
        let settings = [("cleanup.policy", "delete"), ("min.insync.replicas", "2")];
        let some = TopicReport { sampled: 3, broken: (1, Some("no".into())), ..topic(&settings) };
        assert_eq!(names(&some, &read()), ["format_some"]);
        let all = TopicReport { sampled: 3, broken: (3, Some("no".into())), ..topic(&settings) };
        assert_eq!(names(&all, &read()), ["format"]);
    }
}
