//! `recount kafka`: fill topics, and look at those that would be read and written.

mod check;
mod produce;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use recount_connectors::kafka::{Client, ClientSettings, KafkaError};

use super::{CliError, Global};

/// How long one question may take.
pub(super) const QUESTION_WAIT: Duration = Duration::from_secs(15);

/// What to do with Kafka.
#[derive(Debug, Subcommand)]
pub(super) enum KafkaCommand {
    /// Send files of events to a topic, and say how many were delivered
    Produce(produce::ProduceArgs),
    /// Look at the brokers and topics that the settings name: exit 1 where Recount could not work with them
    Check(check::CheckArgs),
}

/// How to reach a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub(super) struct ClusterArgs {
    /// Brokers to begin with: host:port, and more after commas
    #[arg(long, value_name = "SERVERS")]
    bootstrap: Option<String>,
    /// A property of librdkafka, as in security.protocol=ssl; NAME_file reads its value from a file; may be repeated
    #[arg(long = "property", short = 'X', value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

impl ClusterArgs {
    /// Whether the flags name a cluster.
    fn is_given(&self) -> bool {
        self.bootstrap.is_some()
    }

    /// A client of the cluster that the flags name.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let servers = self.bootstrap.as_ref();
        let servers = servers.ok_or_else(|| CliError::usage("say where Kafka is, with --bootstrap host:port"))?;
        client(servers, &self.properties.iter().cloned().collect())
    }
}

/// A client of a cluster.
fn client(servers: &str, properties: &BTreeMap<String, String>) -> Result<Client, CliError> {
    Ok(Client::new(&ClientSettings { bootstrap_servers: servers.to_owned(), properties: properties.clone() })?)
}

fn property(text: &str) -> Result<(String, String), String> {
    // What was written may hold a secret, so it is not repeated.
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
pub(super) fn run(global: &Global, command: &KafkaCommand) -> Result<(), CliError> {
    match command {
        KafkaCommand::Produce(args) => produce::run(global, args),
        KafkaCommand::Check(args) => check::run(global, args),
    }
}

impl From<KafkaError> for CliError {
    fn from(error: KafkaError) -> Self {
        let message = error.to_string();
        match error {
            KafkaError::Decided { .. }
            | KafkaError::Property { .. }
            | KafkaError::Twice { .. }
            | KafkaError::SecretFile { .. }
            | KafkaError::NoServers => CliError::usage(message),
            KafkaError::Unreachable { .. } => CliError::NotReady(message),
            _ => CliError::failed(message),
        }
    }
}
