//! `recount query`: every read of the service, as a table or as JSON.

mod at;
mod client;
mod reads;
pub(super) mod set_aside;
mod streams;

use clap::{Args, Subcommand};
use recount_dataflow::domain::validate::Shelf;
use recount_dataflow::domain::window::Granularity;

use self::at::ReadAtArgs;
use self::client::Client;
pub(super) use self::client::{connect, refused};
use super::replay::parse_granularity;
use super::settings::given;
use super::{CliError, Global, logging};
use crate::convert::time::parse_time;
use crate::convert::wire;

/// What to ask.
#[derive(Debug, Subcommand)]
pub(super) enum QueryCommand {
    /// The rows of some ads over a range of windows
    Counts(CountsArgs),
    /// The ads with the most of a metric over a range of time
    Top(TopArgs),
    /// The readable epochs, the watermark, and what became of every record
    Status(ConnectArgs),
    /// What one number is made of
    Explain(ExplainArgs),
    /// The corrections of closed windows
    Corrections(CorrectionsArgs),
    /// The changes of every epoch, as they happen
    Watch(WatchArgs),
    /// Records that could not be counted
    Quarantined(SetAsideArgs),
    /// Records that came too late to count, or with `--reason unmatched` verdicts that have met no click
    Parked(SetAsideArgs),
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// Where the service listens [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    addr: Option<String>,
    /// How long to wait for an answer [default: 30s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Write JSON in place of a table
    #[arg(long)]
    json: bool,
}

/// A range of time.
#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// The first moment: ms since 1970, or RFC 3339 as in 2023-11-14T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_negative_numbers = true)]
    start: i64,
    /// The first moment after the range
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_negative_numbers = true)]
    end: i64,
}

/// The size of windows.
#[derive(Debug, Args)]
pub(super) struct WindowArgs {
    /// Of which size: minute, five-minutes, hour or day
    #[arg(long, value_name = "SIZE", default_value = "minute", value_parser = parse_granularity)]
    granularity: Granularity,
}

impl WindowArgs {
    /// For a request.
    fn to_wire(&self) -> i32 {
        let granularity: wire::Granularity = crate::convert::to_wire::granularity(self.granularity);
        granularity.into()
    }
}

/// Arguments of `query counts`.
#[derive(Debug, Args)]
pub(super) struct CountsArgs {
    /// The ads
    #[arg(value_name = "AD", required = true)]
    ads: Vec<String>,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    windows: WindowArgs,
    #[command(flatten)]
    at: ReadAtArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `query top`.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// The metric to order by
    #[arg(long, value_name = "METRIC", default_value = "clicks")]
    order_by: String,
    /// How many ads
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: i32,
    #[command(flatten)]
    at: ReadAtArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `query explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The ad
    #[arg(value_name = "AD")]
    ad: String,
    /// The window's first moment: ms since 1970, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    window_start: i64,
    #[command(flatten)]
    windows: WindowArgs,
    /// How many clicks to show
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: i32,
    #[command(flatten)]
    at: ReadAtArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `query corrections`.
#[derive(Debug, Args)]
pub(super) struct CorrectionsArgs {
    /// The first epoch
    #[arg(long, value_name = "EPOCH", default_value_t = 0)]
    from_epoch: u64,
    /// Wait for more
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `query watch`.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The ads; all of them where none is named
    #[arg(value_name = "AD")]
    ads: Vec<String>,
    #[command(flatten)]
    windows: WindowArgs,
    /// Begin with the state as it is
    #[arg(long)]
    snapshot: bool,
    /// Go on after the epoch of this token (base64, as `--json` shows it)
    #[arg(long, value_name = "TOKEN")]
    resume: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Arguments of `query quarantined` and `query parked`.
#[derive(Debug, Args)]
pub(super) struct SetAsideArgs {
    /// Of this reason alone, for example click_id_missing, late or unmatched
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// At most so many [default: 100, and with --json all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks, and shows the answer.
pub(super) fn run(global: &Global, command: QueryCommand) -> Result<(), CliError> {
    let connect = command.connect();
    let flags = given([("grpc.addr", "--addr", &connect.addr), ("query.timeout", "--timeout", &connect.timeout)]);
    let config = global.load(flags)?;
    logging::start(&config)?;
    let json = connect.json;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let client = Client::connect(config.grpc_addr, config.query_timeout).await?;
        match command {
            QueryCommand::Counts(args) => reads::counts(client, args, json).await,
            QueryCommand::Top(args) => reads::top(client, args, json).await,
            QueryCommand::Status(_) => reads::status(client, json).await,
            QueryCommand::Explain(args) => reads::explain(client, args, json).await,
            QueryCommand::Corrections(args) => streams::corrections(client, &args, json).await,
            QueryCommand::Watch(args) => streams::watch(client, args, json).await,
            QueryCommand::Quarantined(args) => set_aside::list(client, Shelf::Quarantined, args, json).await,
            QueryCommand::Parked(args) => set_aside::list(client, Shelf::Parked, args, json).await,
        }
    })
}

impl QueryCommand {
    fn connect(&self) -> &ConnectArgs {
        match self {
            QueryCommand::Counts(args) => &args.connect,
            QueryCommand::Top(args) => &args.connect,
            QueryCommand::Status(args) => args,
            QueryCommand::Explain(args) => &args.connect,
            QueryCommand::Corrections(args) => &args.connect,
            QueryCommand::Watch(args) => &args.connect,
            QueryCommand::Quarantined(args) | QueryCommand::Parked(args) => &args.connect,
        }
    }
}
