//! The command line: one file a command. Data goes to standard output, logs and progress to standard error.

mod checkpoint;
mod completions;
mod config;
mod demo;
mod error;
mod generate;
#[cfg(feature = "kafka")]
mod kafka;
mod kafka_source;
mod logging;
mod progress;
mod quarantine;
mod query;
mod rebuild;
mod replay;
mod serve;
mod settings;
mod stdout;
mod table;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

pub(crate) use self::error::CliError;

/// Exact ad click counts that stay exact through late data and verdicts that change their mind.
#[derive(Debug, Parser)]
#[command(name = "recount", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 reconciliation mismatch, 4 not ready.\n\
    Settings: flags over environment (RECOUNT__SECTION__KEY) over file (--config) over defaults.")]
struct Cli {
    /// Read settings from this TOML file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter by module
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a workload, replay it and show what came out; nothing else is needed
    Demo(demo::DemoArgs),
    /// Write a seeded workload: the same seed, the same bytes
    Generate(generate::GenerateArgs),
    /// Read files of events and write the exact table
    Replay(replay::ReplayArgs),
    /// Run the service, over a data directory or over files of events
    Serve(serve::ServeArgs),
    /// Ask a running service
    #[command(subcommand)]
    Query(query::QueryCommand),
    /// Write, list and check the checkpoints of a data directory
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Make everything again from a data directory's log: exit 3 where it is not what was answered
    Verify(verify::VerifyArgs),
    /// Make everything anew from a data directory's log, by the settings that are given
    Rebuild(rebuild::RebuildArgs),
    /// List the records that could not be counted, and send them again
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Fill topics of Kafka from files, and look at those that would be read and written
    #[cfg(feature = "kafka")]
    #[command(subcommand)]
    Kafka(kafka::KafkaCommand),
    /// Check or show the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write a completion script for a shell to standard output
    Completions(completions::CompletionsArgs),
    /// Write the manual page to standard output
    Man,
}

/// What every command has.
#[derive(Debug)]
struct Global {
    config: Option<PathBuf>,
    log: Option<String>,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Cli { config, log, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, and who asked may have heard enough of it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let global = Global { config, log };
    match run(&global, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::BrokenPipe) {
                eprintln!("recount: {error}");
            }
            error.exit_code()
        }
    }
}

fn run(global: &Global, command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(args) => demo::run(global, &args),
        Command::Generate(args) => generate::run(global, &args),
        Command::Replay(args) => replay::run(global, &args),
        Command::Serve(args) => serve::run(global, &args),
        Command::Query(command) => query::run(global, command),
        Command::Checkpoint(command) => checkpoint::run(global, &command),
        Command::Verify(args) => verify::run(global, &args),
        Command::Rebuild(args) => rebuild::run(global, &args),
        Command::Quarantine(command) => quarantine::run(global, &command),
        #[cfg(feature = "kafka")]
        Command::Kafka(command) => kafka::run(global, &command),
        Command::Config(command) => config::run(global, &command),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        Command::Man => completions::man(Cli::command()),
    }
}

/// What a command asks a service on.
fn runtime() -> Result<Runtime, CliError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| CliError::failed(format!("the runtime can not be started: {cause}")))
}
