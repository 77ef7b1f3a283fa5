//! Epochs as server-sent events. A large epoch comes in several messages; here it stays one event, whose JSON goes on over
//! several `data:` lines, so that a browser sees whole epochs alone and the service holds none.

use std::fmt::Write as _;

use serde_json::Value;

use super::error;
use crate::api::CallError;
use crate::convert::base64;
use crate::convert::json::ToJson;
use crate::convert::wire;

/// A message that carries an epoch, or a part of one.
pub(super) trait OfEpoch: ToJson {
    /// What a part holds many of.
    const ITEMS: &'static str;

    /// The epoch.
    fn epoch(&self) -> u64;

    /// What this part holds.
    fn items(&self) -> Vec<Value>;

    /// The fields after the items, and the event's id; `None` where the epoch goes on.
    fn end(&self) -> Option<(String, String)>;
}

impl OfEpoch for wire::SubscribeResponse {
    const ITEMS: &'static str = "changes";

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn items(&self) -> Vec<Value> {
        self.changes.iter().map(ToJson::to_json).collect()
    }

    fn end(&self) -> Option<(String, String)> {
        let token = base64::encode(&self.resume_token);
        let fields = format!(r#""resume_token":"{token}","watermark_ms":{}"#, self.watermark_ms);
        (!token.is_empty()).then_some((fields, token))
    }
}

impl OfEpoch for wire::StreamCorrectionsResponse {
    const ITEMS: &'static str = "corrections";

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn items(&self) -> Vec<Value> {
        self.corrections.iter().map(ToJson::to_json).collect()
    }

    fn end(&self) -> Option<(String, String)> {
        self.epoch_complete.then(|| (r#""epoch_complete":true"#.into(), self.epoch.to_string()))
    }
}

/// Writes messages as events.
#[derive(Default)]
pub(super) struct EventWriter {
    /// Whether an epoch has begun and not ended.
    open: bool,
}

impl EventWriter {
    /// The text of a message: an event, or a part of one.
    pub(super) fn message(&mut self, message: &impl OfEpoch) -> String {
        fn head<T: OfEpoch>(message: &T) -> String {
            format!(r#"data: {{"epoch":{},"{}":["#, message.epoch(), T::ITEMS)
        }
        let mut text = if self.open { "data: ,".to_string() } else { head(message) };
        for (place, item) in message.items().iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(text, "{comma}{item}").expect("a string takes all that is written");
        }
        if let Some((fields, id)) = message.end() {
            self.open = false;
            // The last part may hold no items, and then there is nothing for its comma to part.
            if text == "data: ," {
                text.truncate("data: ".len());
            }
            text += &format!("],{fields}}}\nid: {id}\n\n");
        } else {
            self.open = true;
            text.push('\n');
        }
        text
    }

    /// The text of the last word. What there is of an open epoch goes under a name that nobody listens to, or it would be taken for
    /// the beginning of the error.
    pub(super) fn error(&mut self, error: &CallError) -> String {
        let unfinished = if std::mem::take(&mut self.open) { "event: unfinished\n\n" } else { "" };
        format!("{unfinished}event: error\ndata: {}\n\n", error::body(error))
    }
}

/// What shows a silent stream to be alive: a comment.
pub(super) const ALIVE_COMMENT: &str = ":\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::errors::ErrorReason;

    fn change(ad_id: &str) -> wire::RowChange {
        wire::RowChange { before: None, after: Some(wire::CountRow { ad_id: ad_id.into(), ..Default::default() }) }
    }

    fn data(event: &str) -> Value {
        let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        serde_json::from_str(&lines.join("\n")).expect("an event's data is JSON")
    }

    #[test]
    fn an_epoch_is_one_event_however_many_messages_it_takes() {
        let mut writer = EventWriter::default();
        let part = |ad: &str| wire::SubscribeResponse { epoch: 7, changes: vec![change(ad)], ..Default::default() };
        let last = wire::SubscribeResponse { resume_token: vec![1, 2, 3], ..part("c") };
        let parts = [writer.message(&part("a")), writer.message(&part("b")), writer.message(&last)];
        assert_eq!(parts.concat().matches("\n\n").count(), 1);
        assert!(parts.concat().ends_with("\nid: AQID\n\n"));
        let whole = wire::SubscribeResponse { changes: vec![change("a"), change("b"), change("c")], ..last };
        assert_eq!(data(&parts.concat()), whole.to_json());
        let single = writer.message(&whole);
        assert_eq!((single.lines().count(), data(&single)), (3, whole.to_json()));
    }

    #[test]
    fn an_epoch_may_end_with_nothing_more() {
        let mut writer = EventWriter::default();
        let part = wire::SubscribeResponse { epoch: 7, changes: vec![change("a")], ..Default::default() };
        let end = wire::SubscribeResponse { epoch: 7, resume_token: vec![1], ..Default::default() };
        let text = writer.message(&part) + &writer.message(&end);
        assert_eq!(data(&text)["changes"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn an_error_amid_an_epoch_is_an_event_of_its_own() {
        let mut writer = EventWriter::default();
        let part = wire::SubscribeResponse { epoch: 7, changes: vec![change("a")], ..Default::default() };
        let refusal = CallError::new(ErrorReason::SlowSubscriber, "too slow");
        let text = writer.message(&part) + &writer.error(&refusal);
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 2);
        assert!(events[0].ends_with("\nevent: unfinished"), "{text}");
        assert!(events[1].starts_with("event: error\n"), "{text}");
        assert_eq!(data(events[1])["error"]["message"], "too slow");
        assert_eq!(writer.error(&refusal).matches("event:").count(), 1);
    }

    #[test]
    fn corrections_are_events_that_their_epochs_number() {
        let mut writer = EventWriter::default();
        let message = wire::StreamCorrectionsResponse { epoch: 4, corrections: vec![], epoch_complete: true };
        let text = writer.message(&message);
        assert_eq!(data(&text), message.to_json());
        assert!(text.ends_with("\nid: 4\n\n"));
    }
}
