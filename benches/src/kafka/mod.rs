//! Kafka from end to end: from a topic that is full to counts that can be read, beside a consumer that only drains the topic; and what
//! it costs to publish, each message once. Broker, consumer and service share the machine.

mod publish;
mod run;
mod topic;

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use recount_tests::kafka::{Broker, BrokerSettings};

use crate::Args;
use crate::measure::{median, touch_memory};
use crate::service::RUN_BYTES_AN_EVENT;
use crate::table::Table;

use self::run::Run;
use self::topic::{EVENT_BYTES, Format, PARTITIONS, Topic};

pub(crate) use self::publish::measure as measure_publishing;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fills topics, drains them, and counts them.
///
/// # Errors
/// Where a program can not be started or fails.
pub(crate) fn measure(args: &Args, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let broker = broker(args);
    let servers = broker.servers();
    for format in [Format::Protobuf, Format::Json] {
        let topic = Topic::fill(args, &servers, format)?;
        let mut run = Run::new(args, &broker, &topic);
        let (mut drained, mut counted) = (Vec::new(), Vec::new());
        for _ in 0..args.runs {
            drained.push(drain(&servers, &topic)?);
            counted.push(topic.records as f64 / run.count(&[])?.readable);
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
    }
    Ok(())
}

fn broker(args: &Args) -> Broker {
    touch_memory(args.events as usize * RUN_BYTES_AN_EVENT);
    Broker::start_with(BrokerSettings { is_for_speed: true, ..BrokerSettings::default() })
}

fn rate(a_second: f64) -> String {
    format!("{a_second:.0} a second")
}

/// A consumer that looks at every record and does nothing else: events a second.
fn drain(servers: &str, topic: &Topic) -> Result<f64, Box<dyn Error>> {
    let clock = Instant::now();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("enable.partition.eof", "true").create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(&topic.name, partition, Offset::Beginning)?;
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
    match records == topic.records {
        true => Ok(records as f64 / seconds),
        false => Err(format!("{records} records were drained of {}", topic.records).into()),
    }
}
