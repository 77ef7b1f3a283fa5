//! `recount checkpoint`: write one now, list them, look whether they are whole.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::SystemDisk;
use recount_connectors::store::CheckpointFiles;
use recount_dataflow::checkpoint::{CheckpointInfo, Checkpoints};
use serde_json::json;
use tokio::runtime::Builder;
use tonic::Request;

use super::query::{print, refused};
use super::settings::given;
use super::table::{Align, Style, Table, grouped, time};
use super::{CliError, Global, logging};
use crate::convert::wire;
use crate::convert::wire::admin_service_client::AdminServiceClient;
use crate::store::StoreError;

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
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| CliError::failed(format!("the runtime can not be started: {cause}")))?;
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

fn open(global: &Global, args: &DirArgs) -> Result<(Checkpoints, Vec<CheckpointInfo>), CliError> {
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
    show(&list, args.json, |_| None)
}

fn verify(global: &Global, args: &DirArgs) -> Result<(), CliError> {
    let (checkpoints, list) = open(global, args)?;
    let mut damaged = 0;
    show(&list, args.json, |info| {
        let state = checkpoints.load(info.number).map_or_else(|error| error.to_string(), |_| "whole".to_string());
        damaged += usize::from(state != "whole");
        Some(state)
    })?;
    match damaged {
        0 => Ok(()),
        damaged => Err(CliError::failed(format!("{damaged} of {} checkpoints can not be used", list.len()))),
    }
}

fn show(
    list: &[CheckpointInfo],
    json: bool,
    mut state: impl FnMut(&CheckpointInfo) -> Option<String>,
) -> Result<(), CliError> {
    let columns =
        [("checkpoint", Align::Right), ("epoch", Align::Right), ("time", Align::Left), ("bytes", Align::Right)];
    let mut table = Table::new(&[&columns[..], &[("state", Align::Left)]].concat());
    for info in list {
        let state = state(info);
        if json {
            let line = json!({
                "number": info.number, "epoch": info.epoch, "wall_ms": info.wall_ms, "writer": info.writer,
                "bytes": info.bytes, "state": state,
            });
            print(&format!("{line}\n"))?;
            continue;
        }
        let cells = [info.number.to_string(), info.epoch.to_string(), time(info.wall_ms), grouped(info.bytes)];
        table.row(cells.into_iter().chain([state.unwrap_or_default()]).collect());
    }
    if json { Ok(()) } else { print(&table.render(Style::for_stdout())) }
}
