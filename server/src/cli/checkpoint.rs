//! `recount checkpoint`: write one now, list them, look whether they are whole.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::SystemDisk;
use recount_connectors::store::CheckpointFiles;
use recount_dataflow::checkpoint::{CheckpointInfo, Checkpoints, Listed};
use serde_json::json;
use tonic::Request;

use super::query::refused;
use super::settings::given;
use super::stdout::print;
use super::table::{Align, Style, Table, grouped, time};
use super::{CliError, Global, logging};
use crate::convert::wire;
use crate::convert::wire::admin_service_client::AdminServiceClient;
use crate::store::StoreError;

/// What is said of one that can be used.
const WHOLE: &str = "whole";

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// Let a running service write one now
    Now(NowArgs),
    /// List those of a data directory
    List(DirArgs),
    /// Read every byte of those of a data directory: exit 0 where all are whole
    Verify(DirArgs),
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct NowArgs {
    /// Where the service listens [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    addr: Option<String>,
    /// Write JSON in place of a sentence
    #[arg(long)]
    json: bool,
}

/// Where to look.
#[derive(Debug, Args)]
pub(super) struct DirArgs {
    /// The data directory; a service may write in it meanwhile
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Write JSON lines in place of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(global: &Global, command: &CheckpointCommand) -> Result<(), CliError> {
    match command {
        CheckpointCommand::Now(args) => now(global, args),
        CheckpointCommand::List(args) => list(global, args),
        CheckpointCommand::Verify(args) => verify(global, args),
    }
}

fn now(global: &Global, args: &NowArgs) -> Result<(), CliError> {
    let config = global.load(given([("grpc.addr", "--addr", &args.addr)]))?;
    logging::start(&config)?;
    let runtime = super::runtime()?;
    let written = runtime.block_on(async {
        let channel = super::query::connect(config.grpc_addr, config.query_timeout).await?;
        let answer = AdminServiceClient::new(channel).checkpoint(Request::new(wire::CheckpointRequest {})).await;
        Ok::<_, CliError>(answer.map_err(refused)?.into_inner())
    })?;
    let wire::CheckpointResponse { written, number, epoch, bytes } = written;
    if args.json {
        let line = json!({"written": written, "number": number, "epoch": epoch, "bytes": bytes});
        return print(&format!("{line}\n"));
    }
    print(&match written {
        true => format!("checkpoint {number} holds epoch {epoch}; {} bytes were written\n", grouped(bytes)),
        false => "the newest checkpoint holds the newest epoch already\n".to_string(),
    })
}

fn open(global: &Global, args: &DirArgs) -> Result<(Checkpoints, Vec<Listed>), CliError> {
    let config = global.load(Vec::new())?;
    logging::start(&config)?;
    let place = config.checkpoints()?;
    let opened = || {
        let dir = DataDir::read_only(Arc::new(SystemDisk::open(&args.data_dir)?))?;
        let checkpoints = Checkpoints::new(CheckpointFiles::open(&dir, &place)?.store());
        let list = checkpoints.list()?;
        Ok::<_, StoreError>((checkpoints, list))
    };
    opened().map_err(|error| CliError::failed(error.to_string()))
}

fn list(global: &Global, args: &DirArgs) -> Result<(), CliError> {
    let (_, list) = open(global, args)?;
    let lines: Vec<Line<'_>> = list.iter().map(|listed| Line::of(listed, String::new())).collect();
    show(&lines, args.json)
}

fn verify(global: &Global, args: &DirArgs) -> Result<(), CliError> {
    let (checkpoints, list) = open(global, args)?;
    let (mut lines, mut damaged) = (Vec::new(), 0);
    for listed in &list {
        let loaded = match &listed.info {
            Ok(_) => checkpoints.load_kept(listed.number),
            Err(_) => checkpoints.load(listed.number).map(Some),
        };
        let damage = match loaded {
            Ok(Some(_)) => None,
            // The service has let go of it meanwhile.
            Ok(None) => continue,
            Err(error) => Some(error.to_string()),
        };
        damaged += usize::from(damage.is_some());
        lines.push(Line::of(listed, damage.unwrap_or_else(|| WHOLE.to_owned())));
    }
    show(&lines, args.json)?;
    match damaged {
        0 => Ok(()),
        damaged => Err(CliError::failed(format!("{damaged} of {} checkpoints can not be used", lines.len()))),
    }
}

/// A checkpoint, as it is shown.
struct Line<'a> {
    number: u64,
    /// What its manifest says, where that can be read.
    info: Option<&'a CheckpointInfo>,
    state: String,
}

impl<'a> Line<'a> {
    /// One whose manifest can not be read says why, whatever else is known of it.
    fn of(listed: &'a Listed, state: String) -> Self {
        match &listed.info {
            Ok(info) => Line { number: listed.number, info: Some(info), state },
            Err(error) => Line { number: listed.number, info: None, state: error.to_string() },
        }
    }
}

fn show(lines: &[Line<'_>], json: bool) -> Result<(), CliError> {
    let columns =
        [("checkpoint", Align::Right), ("epoch", Align::Right), ("time", Align::Left), ("bytes", Align::Right)];
    let mut table = Table::new(&[&columns[..], &[("state", Align::Left)]].concat());
    for Line { number, info, state } in lines {
        if json {
            let state = (!state.is_empty()).then_some(state);
            let line = json!({
                "number": number, "epoch": info.map(|info| info.epoch), "wall_ms": info.map(|info| info.wall_ms),
                "writer": info.map(|info| info.writer), "bytes": info.map(|info| info.bytes), "state": state,
            });
            print(&format!("{line}\n"))?;
            continue;
        }
        let said = info.map(|info| [info.epoch.to_string(), time(info.wall_ms), grouped(info.bytes)]);
        let cells = said.unwrap_or([const { String::new() }; 3]);
        table.row([number.to_string()].into_iter().chain(cells).chain([state.clone()]).collect());
    }
    if json { Ok(()) } else { print(&table.render(Style::for_stdout())) }
}
