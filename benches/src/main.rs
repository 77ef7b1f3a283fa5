//! What Recount's speed is measured with, beside the baselines it is held against.
//!
//! Every run is a child process of its own, so that no run finds the memory or the caches of another; runs of two subjects
//! take turns, so that both meet the same weather; what is printed are medians. On a machine that does other work compare the
//! two, not the seconds.

mod checksum;
mod codec;
mod contest;
mod engine;
mod facts;
mod ingest;
#[cfg(feature = "kafka")]
mod kafka;
mod keeping;
mod kept;
mod measure;
mod outcome;
mod program;
mod reads;
mod replay;
mod restore;
mod service;
mod table;
mod tables;
mod workload;

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use contest::Run;
use kept::KeptRun;
use table::Table;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Recount, and prints one table.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Runs of each kind; their median is printed.
    #[arg(long, default_value_t = 3, global = true)]
    runs: usize,
    /// Clicks of the workload for the engine alone.
    #[arg(long, default_value_t = 10_000_000, global = true)]
    clicks: u64,
    /// Events of the file for `replay` and for reads.
    #[arg(long, default_value_t = 5_000_000, global = true)]
    events: u64,
    /// Where workloads are kept between runs.
    #[arg(long, default_value = "target/bench", global = true)]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Part {
    /// The engine alone against hash tables that keep no history.
    Engine {
        /// Also five times as many clicks with one worker.
        #[arg(long)]
        large: bool,
    },
    /// `recount replay` against DuckDB's recompute of the same file.
    Replay,
    /// Reads over gRPC, while ingesting and idle.
    Reads,
    /// Events over gRPC into a data directory, with fsync.
    Ingest,
    /// Checkpoints beside the engine.
    Checkpoints {
        /// Also five times as many clicks, in memory and within a budget.
        #[arg(long)]
        large: bool,
    },
    /// A data directory started again, made again from its log, and one verdict in it.
    Restore,
    /// A topic of a broker of its own, counted and published, against a plain consumer.
    #[cfg(feature = "kafka")]
    Kafka,
    /// The same topic counted with sinks and without: what it costs to publish.
    #[cfg(feature = "kafka")]
    Publish,
    /// Ways to carry facts between workers.
    Codec,
    /// One run, for the process that compares several.
    #[command(hide = true)]
    Run(Run),
    /// One run with checkpoints or without, likewise.
    #[command(hide = true)]
    RunKept(KeptRun),
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.dir)?;
    let mut table = Table::default();
    match &args.part {
        Some(Part::Run(run)) => {
            println!("{}", serde_json::to_string(&run.run()?)?);
            return Ok(());
        }
        Some(Part::RunKept(run)) => {
            println!("{}", serde_json::to_string(&run.clone().run()?)?);
            return Ok(());
        }
        Some(Part::Engine { large }) => contest::measure(&args, *large, &mut table)?,
        Some(Part::Replay) => replay::measure(&args, &mut table)?,
        Some(Part::Reads) => reads::measure(&args, &mut table)?,
        Some(Part::Ingest) => ingest::measure(&args, &mut table)?,
        Some(Part::Checkpoints { large }) => kept::measure(&args, *large, &mut table)?,
        Some(Part::Restore) => restore::measure(&args, &mut table)?,
        #[cfg(feature = "kafka")]
        Some(Part::Kafka) => kafka::measure(&args, &mut table)?,
        #[cfg(feature = "kafka")]
        Some(Part::Publish) => kafka::measure_publishing(&args, &mut table)?,
        Some(Part::Codec) => codec::measure(&args, &mut table)?,
        None => {
            contest::measure(&args, false, &mut table)?;
            replay::measure(&args, &mut table)?;
            reads::measure(&args, &mut table)?;
            ingest::measure(&args, &mut table)?;
            kept::measure(&args, false, &mut table)?;
            restore::measure(&args, &mut table)?;
            #[cfg(feature = "kafka")]
            {
                kafka::measure(&args, &mut table)?;
                kafka::measure_publishing(&args, &mut table)?;
            }
            codec::measure(&args, &mut table)?;
        }
    }
    table.print();
    Ok(())
}
