//! Dead letters in a topic, and records that are sent to topics again.

use std::collections::HashMap;

use recount_connectors::kafka::{
    Client, Connection, DeadLetter, KafkaError, Origin, Replayed, Replayer, read_dead_letters,
};
use serde_json::{Value, json};

use super::{Outcome, WhichArgs, service};
use crate::cli::CliError;
use crate::cli::kafka::QUESTION_WAIT;
use crate::cli::query::set_aside::{LISTED, beginning};
use crate::cli::stdout::print;
use crate::cli::table::{Align, Style, Table, grouped, time};
use crate::config::Config;
use crate::convert::base64;

/// `quarantine list --topic`.
pub(super) fn list(which: &WhichArgs, topic: &str, json: bool) -> Result<(), CliError> {
    let mut table = Table::new(&[
        ("arrived", Align::Left),
        ("dead letter", Align::Left),
        ("where", Align::Left),
        ("reason", Align::Left),
        ("detail", Align::Left),
        ("bytes", Align::Right),
        ("record", Align::Left),
    ]);
    let client = which.cluster.client()?;
    let mut left = which.limit.unwrap_or(if json { usize::MAX } else { LISTED });
    let mut printed = Ok(());
    read_dead_letters(&client, topic, QUESTION_WAIT, |letter| {
        if !is_asked(which, &letter) {
            return Ok(true);
        }
        if left == 0 {
            eprintln!("there are more; --limit shows them");
            return Ok(false);
        }
        left -= 1;
        match json {
            true => printed = print(&format!("{}\n", as_json(topic, &letter))),
            false => table.row(cells(&letter)),
        }
        Ok(printed.is_ok())
    })?;
    printed?;
    match json {
        true => Ok(()),
        false => print(&table.render(Style::for_stdout())),
    }
}

/// `quarantine replay --topic`: to the topics that they came from, or to one.
pub(super) fn replay(which: &WhichArgs, topic: &str, to_topic: Option<&str>) -> Result<Outcome, CliError> {
    let client = which.cluster.client()?;
    let mut sending = Sending::open(&client)?;
    let mut outcome = Outcome::default();
    let mut left = which.limit.unwrap_or(usize::MAX);
    let read = read_dead_letters(&client, topic, QUESTION_WAIT, |letter| {
        if !is_asked(which, &letter) {
            return Ok(true);
        }
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        if letter.cut_from_bytes.is_some() {
            outcome.skip("the dead letter holds only the beginning of the record");
            return Ok(true);
        }
        match (to_topic, &letter.origin) {
            (Some(to), _) => sending.send(to, None, &letter)?,
            (None, Some(origin)) => sending.send(&origin.topic, Some(origin.partition), &letter)?,
            (None, None) => outcome.skip("the dead letter does not say which topic it came from"),
        }
        Ok(true)
    });
    sending.finish(&mut outcome);
    read?;
    Ok(outcome)
}

/// `quarantine replay --to-topic`: a service's records to a topic.
pub(super) fn replay_service(config: &Config, which: &WhichArgs, to_topic: &str) -> Result<Outcome, CliError> {
    let client = which.cluster.client()?;
    let mut sending = Sending::open(&client)?;
    let mut outcome = Outcome::default();
    let mut left = which.limit.unwrap_or(usize::MAX);
    let read = service::for_each(config, which, |record| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        if !service::is_whole(record) {
            outcome.skip(service::NOT_WHOLE);
            return Ok(true);
        }
        let letter = DeadLetter {
            origin: None,
            key: None,
            value: Some(record.payload.clone()),
            headers: Vec::new(),
            timestamp_ms: None,
            cut_from_bytes: None,
            place: (0, 0),
        };
        sending.send(to_topic, None, &letter)?;
        Ok(true)
    });
    sending.finish(&mut outcome);
    read?;
    Ok(outcome)
}

/// Sends to topics that are known to be there.
struct Sending {
    replayer: Replayer,
    connection: Connection,
    /// How many partitions each topic has.
    partitions: HashMap<String, i32>,
}

impl Sending {
    fn open(client: &Client) -> Result<Self, KafkaError> {
        let partitions = HashMap::new();
        Ok(Sending { replayer: Replayer::open(client)?, connection: client.connect()?, partitions })
    }

    fn send(&mut self, topic: &str, partition: Option<i32>, letter: &DeadLetter) -> Result<(), KafkaError> {
        let count = match self.partitions.get(topic) {
            Some(count) => *count,
            None => {
                let count = self.connection.topic(topic, QUESTION_WAIT)?.partitions.len() as i32;
                self.partitions.insert(topic.to_owned(), count);
                count
            }
        };
        // A topic that was made anew may have fewer.
        self.replayer.send(topic, partition.filter(|partition| *partition < count), letter)
    }

    fn finish(self, outcome: &mut Outcome) {
        let Replayed { delivered, failed } = self.replayer.finish();
        outcome.accepted += delivered;
        outcome.failed = failed;
    }
}

fn is_asked(which: &WhichArgs, letter: &DeadLetter) -> bool {
    let of_letter = letter.origin.as_ref().map(|origin| &origin.reason);
    which.reason.as_ref().is_none_or(|reason| Some(reason) == of_letter)
}

/// How many bytes the record had.
fn length(letter: &DeadLetter) -> u64 {
    letter.cut_from_bytes.unwrap_or(letter.value.as_ref().map_or(0, Vec::len) as u64)
}

fn cells(letter: &DeadLetter) -> Vec<String> {
    let of = |show: fn(&Origin) -> String| letter.origin.as_ref().map_or_else(|| "?".to_owned(), show);
    vec![
        letter.timestamp_ms.map_or_else(String::new, time),
        format!("{}@{}", letter.place.0, letter.place.1),
        of(|origin| format!("{}/{}@{}", origin.topic, origin.partition, origin.offset)),
        of(|origin| origin.reason.clone()),
        of(|origin| origin.detail.clone()),
        grouped(length(letter) as i64),
        beginning(letter.value.as_deref().unwrap_or_default()),
    ]
}

fn as_json(topic: &str, letter: &DeadLetter) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| base64::encode(bytes));
    let header = |(name, value): &(String, Option<Vec<u8>>)| json!({"name": name, "value": bytes(value)});
    let position = |source: &str, partition: i32, offset: i64| json!({"source": source, "partition": partition, "next_offset": offset});
    let origin = letter.origin.as_ref();
    json!({
        "reason": origin.map(|origin| &origin.reason),
        "detail": origin.map(|origin| &origin.detail),
        "position": origin.map(|origin| position(&origin.topic, origin.partition, origin.offset)),
        "dead_letter": position(topic, letter.place.0, letter.place.1),
        "key": bytes(&letter.key),
        "payload": bytes(&letter.value),
        "payload_length": length(letter),
        "headers": letter.headers.iter().map(header).collect::<Vec<_>>(),
        "arrived_at_ms": letter.timestamp_ms,
    })
}
