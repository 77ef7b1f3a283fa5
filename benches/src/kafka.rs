//! Kafka from end to end: from a topic that is full to counts that can be read, beside a consumer that only drains the topic; and what
//! it costs to publish, each message once. Broker, consumer and service share the machine.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_proto::v1::event::Body;
use recount_proto::v1::{Event, GetStatusRequest};
use recount_tests::kafka::{Broker, BrokerSettings, Topics};

use crate::Args;
use crate::measure::{cpu_seconds, median, touch_memory};
use crate::program::{Background, ready_at, recount, succeed};
use crate::service::{RUN_BYTES_AN_EVENT, events};
use crate::table::Table;

/// How large an event is made, in bytes: as large as clicks of real sites with their user agents.
const EVENT_BYTES: usize = 300;
const PARTITIONS: i32 = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How events are written.
#[derive(Clone, Copy)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Protobuf => "event",
            Format::Json => "json",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Format::Protobuf => "protobuf",
            Format::Json => "JSON",
        }
    }
}

/// What is published.
const NOTHING: &[(&str, &str)] = &[];
const CORRECTIONS: &[(&str, &str)] = &[("SINK__KAFKA__CORRECTIONS__TOPIC", "corrections")];
const HOURS_TOO: &[(&str, &str)] = &[
    ("SINK__KAFKA__CORRECTIONS__TOPIC", "corrections"),
    ("SINK__KAFKA__COUNTS__TOPIC", "counts"),
    ("SINK__KAFKA__COUNTS__GRANULARITIES", r#"["hour", "day"]"#),
];

/// Fills topics, drains them, and counts them.
///
/// # Errors
/// Where a program can not be started or fails.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let broker = Broker::start_with(BrokerSettings { is_for_speed: true, ..BrokerSettings::default() });
    let servers = broker.servers();
    let topics = Topics::of(servers.as_str());
    touch_memory(args.events as usize * RUN_BYTES_AN_EVENT);
    for format in [Format::Protobuf, Format::Json] {
        let topic = format!("clicks.{}", format.name());
        topics.create(&topic, PARTITIONS, &[("retention.ms", "-1")]);
        let mut produce = recount()?;
        produce.args(["kafka", "produce", "--bootstrap", &servers, "--topic", &topic, "--format", format.name()]);
        succeed(produce.arg(file(args, format)?))?;
        let records: u64 = (0..PARTITIONS).map(|partition| topics.offsets(&topic, partition).1 as u64).sum();
        let mut run = Run { args, servers: &servers, topic: &topic, format, records, number: 0 };
        let (mut drained, mut counted) = (Vec::new(), Vec::new());
        for _ in 0..args.runs {
            drained.push(run.drain()?);
            counted.push(run.count(NOTHING)?.readable);
        }
        let (drained, counted) = (median(&mut drained), median(&mut counted));
        let words = format.words();
        table.row(
            format!("{words} of {EVENT_BYTES} bytes from {PARTITIONS} partitions: a plain consumer"),
            rate(drained),
            "",
        );
        table.row("  from start to counts readable", rate(counted), "300,000 a second");
        table.row("  against the plain consumer", format!("{:.2}", counted / drained), "0.4");
        if matches!(format, Format::Protobuf) {
            run.publish(counted, table)?;
        }
    }
    Ok(())
}

fn rate(a_second: f64) -> String {
    format!("{a_second:.0} a second")
}

/// Events a second.
struct Counted {
    /// Until all can be read.
    readable: f64,
    /// Until all that is to be published is.
    published: f64,
}

/// One topic that is full.
struct Run<'a> {
    args: &'a Args,
    servers: &'a str,
    topic: &'a str,
    format: Format,
    records: u64,
    number: usize,
}

impl Run<'_> {
    /// A consumer that looks at every record and does nothing else: events a second.
    fn drain(&self) -> Result<f64, Box<dyn Error>> {
        let clock = Instant::now();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers).set("group.id", "bench").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.set("enable.partition.eof", "true").create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(self.topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let (mut records, mut bytes, mut open) = (0, 0, PARTITIONS);
        while open > 0 {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => {
                    records += 1;
                    bytes += message.payload().map_or(0, <[u8]>::len);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(cause)) => return Err(cause.into()),
                None => return Err("the topic does not come".into()),
            }
        }
        let seconds = clock.elapsed().as_secs_f64();
        eprintln!("{records} records of {} bytes drained in {seconds:.1} s", bytes / records as usize);
        match records == self.records {
            true => Ok(records as f64 / seconds),
            false => Err(format!("{records} records were drained of {}", self.records).into()),
        }
    }

    /// The real service on an empty directory, from its start on.
    fn count(&mut self, sinks: &[(&str, &str)]) -> Result<Counted, Box<dyn Error>> {
        self.number += 1;
        let dir = self.args.dir.join("kafka");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let clock = Instant::now();
        let (process, service) = ready_at(self.command(&dir, sinks)?)?;
        let address = |name: &str| service[name].as_str().ok_or("the service does not say where it listens");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(wait_for_records(format!("http://{}", address("grpc")?), self.records))?;
        let readable = clock.elapsed();
        while !sinks.is_empty() && metric(address("http")?, "recount_sink_epochs_behind")? > 0.0 {
            thread::sleep(Duration::from_millis(5));
        }
        let published = clock.elapsed();
        let messages = metric(address("http")?, "recount_sink_messages_total")?;
        eprintln!(
            "{} records as {} readable in {:.1} s, {messages} messages published in {:.1} s, {:.1} s of processor",
            self.records,
            self.format.words(),
            readable.as_secs_f64(),
            published.as_secs_f64(),
            cpu_seconds(process.0.id())
        );
        drop::<Background>(process);
        fs::remove_dir_all(&dir)?;
        let rate = |took: Duration| self.records as f64 / took.as_secs_f64();
        Ok(Counted { readable: rate(readable), published: rate(published) })
    }

    fn command(&self, dir: &Path, sinks: &[(&str, &str)]) -> Result<Command, Box<dyn Error>> {
        let mut command = recount()?;
        command.arg("serve").arg("--data-dir").arg(dir);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        let topics = format!("[{{ name = {:?}, format = {:?} }}]", self.topic, self.format.name());
        command.env("RECOUNT__SOURCE__KAFKA__BOOTSTRAP_SERVERS", self.servers);
        command.env("RECOUNT__SOURCE__KAFKA__TOPICS", topics);
        for (name, value) in sinks {
            // Every run publishes to topics of its own.
            let value = match name.ends_with("__TOPIC") {
                true => format!("{value}.{}", self.number),
                false => (*value).to_owned(),
            };
            command.env(format!("RECOUNT__{name}"), value);
        }
        Ok(command)
    }

    /// What it costs to publish, each message once: until counts can be read, and until all is published.
    fn publish(&mut self, plain: f64, table: &mut Table) -> Result<(), Box<dyn Error>> {
        let kinds = [("corrections", CORRECTIONS), ("corrections, and counts of hours and days,", HOURS_TOO)];
        for (what, sinks) in kinds {
            let (mut readable, mut published) = (Vec::new(), Vec::new());
            for _ in 0..self.args.runs {
                let counted = self.count(sinks)?;
                readable.push(counted.readable);
                published.push(counted.published);
            }
            let cost = |rates: &mut [f64]| format!("{:.0} %", 100.0 * (1.0 - median(rates) / plain));
            let found = format!("{}, {}", cost(&mut readable), cost(&mut published));
            table.row(format!("  {what} published exactly once: cost until readable, until published"), found, "20 %");
        }
        Ok(())
    }
}

async fn wait_for_records(address: String, records: u64) -> Result<(), Box<dyn Error>> {
    let mut counts = CountsServiceClient::connect(address).await?;
    let clock = Instant::now();
    loop {
        let taken = counts.get_status(GetStatusRequest {}).await?.into_inner().records_in;
        if taken == records {
            return Ok(());
        }
        if records < taken || PATIENCE < clock.elapsed() {
            return Err(format!("{taken} records were counted of {records}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A number of `/metrics`, over all labels; 0 where it is not told.
fn metric(address: &str, name: &str) -> Result<f64, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let values = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let values = values.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
    Ok(values.sum::<Result<f64, _>>()?)
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
