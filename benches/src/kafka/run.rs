//! The real service, from its start until a topic is counted, and until what it is to publish is published.

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use recount_proto::v1::GetStatusRequest;
use recount_proto::v1::counts_service_client::CountsServiceClient;
use recount_tests::kafka::Broker;

use crate::Args;
use crate::measure::cpu_seconds;
use crate::program::{Background, ready_at, recount};

use super::PATIENCE;
use super::topic::Topic;

/// Between two looks at all metrics: telling the size of the state costs some milliseconds.
const LOOK: Duration = Duration::from_millis(50);

/// Runs over one topic.
pub(super) struct Run<'a> {
    args: &'a Args,
    broker: &'a Broker,
    topic: &'a Topic,
    number: usize,
}

/// What one run took; times are in seconds from its start.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    /// Until it answers: sinks are open.
    pub(super) open: f64,
    /// Until all can be read.
    pub(super) readable: f64,
    /// Until all that is to be published is.
    pub(super) published: f64,
    pub(super) messages: f64,
    /// Of their keys and values.
    pub(super) bytes: f64,
    pub(super) transactions: f64,
    /// Processor time of the service and of the broker, in seconds.
    pub(super) service_cpu: f64,
    pub(super) broker_cpu: f64,
}

impl<'a> Run<'a> {
    pub(super) fn new(args: &'a Args, broker: &'a Broker, topic: &'a Topic) -> Self {
        Run { args, broker, topic, number: 0 }
    }

    /// The service on an empty directory. `settings` are those beside its source's.
    ///
    /// # Errors
    /// Where it can not be started, or counts something else than the topic holds.
    pub(super) fn count(&mut self, settings: &[(&str, &str)]) -> Result<Counted, Box<dyn Error>> {
        self.number += 1;
        let dir = self.args.dir.join("kafka");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let broker_before = cpu_seconds(self.broker.process_id());
        let clock = Instant::now();
        let (process, service) = ready_at(self.command(&dir, settings)?)?;
        let open = clock.elapsed().as_secs_f64();
        let address = |name: &str| service[name].as_str().ok_or("the service does not say where it listens");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(wait_for_records(format!("http://{}", address("grpc")?), self.topic.records))?;
        let readable = clock.elapsed().as_secs_f64();
        let metric = |name: &str| metric(address("http")?, name);
        while metric("recount_sink_epochs_behind")? > 0.0 {
            thread::sleep(LOOK);
        }
        let counted = Counted {
            open,
            readable,
            published: clock.elapsed().as_secs_f64(),
            messages: metric("recount_sink_messages_total")?,
            bytes: metric("recount_sink_bytes_total")?,
            transactions: metric("recount_sink_transactions_total")?,
            service_cpu: cpu_seconds(process.0.id()),
            broker_cpu: cpu_seconds(self.broker.process_id()) - broker_before,
        };
        let Counted { published, messages, transactions, service_cpu, broker_cpu, .. } = counted;
        eprintln!(
            "{} records as {}: open after {open:.2} s, readable after {readable:.2} s, {messages} messages in {transactions} \
             transactions published after {published:.2} s; {service_cpu:.1} s of processor, and {broker_cpu:.1} s of the broker's",
            self.topic.records,
            self.topic.format.words(),
        );
        drop::<Background>(process);
        fs::remove_dir_all(&dir)?;
        Ok(counted)
    }

    fn command(&self, dir: &Path, settings: &[(&str, &str)]) -> Result<Command, Box<dyn Error>> {
        let mut command = recount()?;
        command.arg("serve").arg("--data-dir").arg(dir);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        let topics = format!("[{{ name = {:?}, format = {:?} }}]", self.topic.name, self.topic.format.name());
        command.env("RECOUNT__SOURCE__KAFKA__BOOTSTRAP_SERVERS", self.broker.servers());
        command.env("RECOUNT__SOURCE__KAFKA__TOPICS", topics);
        for (name, value) in settings {
            // Every run publishes to topics of its own.
            let value = match name.ends_with("__TOPIC") {
                true => format!("{value}.{}", self.number),
                false => (*value).to_owned(),
            };
            command.env(format!("RECOUNT__{name}"), value);
        }
        Ok(command)
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
