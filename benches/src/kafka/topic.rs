//! A topic that is full.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::PathBuf;

use prost::Message as _;
use recount_proto::v1::Event;
use recount_proto::v1::event::Body;
use recount_tests::kafka::Topics;

use crate::Args;
use crate::program::{recount, succeed};
use crate::service::events;

/// How large an event is made, in bytes: as large as clicks of real sites with their user agents.
pub(super) const EVENT_BYTES: usize = 300;
pub(super) const PARTITIONS: i32 = 4;

/// How events are written.
#[derive(Clone, Copy)]
pub(super) enum Format {
    Protobuf,
    Json,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Protobuf => "event",
            Format::Json => "json",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Format::Protobuf => "protobuf",
            Format::Json => "JSON",
        }
    }
}

/// One topic that is full.
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) records: u64,
}

impl Topic {
    /// Makes one and fills it.
    ///
    /// # Errors
    /// Where the events can not be made or sent.
    pub(super) fn fill(args: &Args, servers: &str, format: Format) -> Result<Topic, Box<dyn Error>> {
        let topics = Topics::of(servers);
        let name = format!("clicks.{}", format.name());
        topics.create(&name, PARTITIONS, &[("retention.ms", "-1")]);
        let mut produce = recount()?;
        produce.args(["kafka", "produce", "--bootstrap", servers, "--topic", &name, "--format", format.name()]);
        // As in a topic that has been filled for as long as the events took to happen, not in the moments before.
        produce.args(["--timestamps", "event"]);
        succeed(produce.arg(file(args, format)?))?;
        let records = (0..PARTITIONS).map(|partition| topics.offsets(&name, partition).1 as u64).sum();
        Ok(Topic { name, format, records })
    }
}

/// The events as a file that can be sent, made where it is not there yet.
fn file(args: &Args, format: Format) -> Result<PathBuf, Box<dyn Error>> {
    // Copies and verdicts come on top of the clicks: about one record in twenty.
    let clicks = args.events * 20 / 21;
    let path = match format {
        Format::Protobuf => args.dir.join(format!("kafka-{clicks}.pb")),
        Format::Json => args.dir.join(format!("kafka-{clicks}.jsonl")),
    };
    if path.exists() {
        return Ok(path);
    }
    let unfinished = args.dir.join("kafka-unfinished");
    let mut out = BufWriter::new(File::create(&unfinished)?);
    match format {
        Format::Protobuf => {
            for event in events(&args.dir, clicks)? {
                out.write_all(&padded(Event::decode(event)?).encode_length_delimited_to_vec())?;
            }
        }
        Format::Json => write_json(args, clicks, &mut out)?,
    }
    out.flush()?;
    fs::rename(unfinished, &path)?;
    Ok(path)
}

/// The same event, a click with a user agent that makes it as large as it is to be.
fn padded(mut event: Event) -> Event {
    // A tag and a length; and the event's own length becomes one byte longer.
    const FRAME_BYTES: usize = 4;
    let length = event.encoded_len();
    if let Some(Body::Click(click)) = &mut event.body {
        click.user_agent = "x".repeat(EVENT_BYTES.saturating_sub(length + FRAME_BYTES));
    }
    event
}

fn write_json(args: &Args, clicks: u64, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    const FIELD_BYTES: usize = r#","user_agent":"""#.len();
    let plain = args.dir.join("kafka-plain.jsonl");
    succeed(recount()?.args(["generate", "--seed", "1", "--clicks", &clicks.to_string(), "--out"]).arg(&plain))?;
    for line in BufReader::new(File::open(&plain)?).lines() {
        let line = line?;
        match line.strip_suffix("}}").filter(|line| line.starts_with(r#"{"click""#)) {
            Some(open) => {
                let agent = "x".repeat(EVENT_BYTES.saturating_sub(line.len() + FIELD_BYTES));
                writeln!(out, r#"{open},"user_agent":"{agent}"}}}}"#)?;
            }
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(fs::remove_file(plain)?)
}
