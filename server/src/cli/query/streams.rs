//! Questions whose answers go on.

use tonic::Request;

use super::client::{Client, print_json, refused};
use super::reads::revisions_table;
use super::{CorrectionsArgs, WatchArgs};
use crate::cli::CliError;
use crate::cli::stdout::print;
use crate::cli::table::{grouped, time};
use crate::convert::{base64, wire};

/// `query corrections`.
pub(super) async fn corrections(mut client: Client, args: &CorrectionsArgs, json: bool) -> Result<(), CliError> {
    let message = wire::StreamCorrectionsRequest { from_epoch: args.from_epoch, follow: args.follow };
    // One that follows has no end to wait for.
    let request = if args.follow { Request::new(message) } else { client.request(message) };
    let mut stream = client.stub.stream_corrections(request).await.map_err(refused)?.into_inner();
    while let Some(part) = stream.message().await.map_err(refused)? {
        if json {
            print_json(&part)?;
        } else if !part.corrections.is_empty() {
            print(&format!("epoch {}\n{}\n", part.epoch, revisions_table(&part.corrections)))?;
        }
    }
    Ok(())
}

/// `query watch`.
pub(super) async fn watch(mut client: Client, args: WatchArgs, json: bool) -> Result<(), CliError> {
    let resume_token = match &args.resume {
        None => Vec::new(),
        Some(token) => base64::decode(token)
            .ok_or_else(|| CliError::usage("--resume is no token; pass on what `--json` showed as resume_token"))?,
    };
    let request = wire::SubscribeRequest {
        ad_ids: args.ads,
        granularity: args.windows.to_wire(),
        snapshot: args.snapshot,
        resume_token,
    };
    let mut stream = client.stub.subscribe(Request::new(request)).await.map_err(refused)?.into_inner();
    while let Some(part) = stream.message().await.map_err(refused)? {
        if json {
            print_json(&part)?;
        } else if !part.changes.is_empty() {
            print(&changes_text(&part))?;
        }
    }
    Ok(())
}

fn changes_text(part: &wire::SubscribeResponse) -> String {
    let mut text = String::new();
    for change in &part.changes {
        let row = change.after.as_ref().or(change.before.as_ref()).cloned().unwrap_or_default();
        let clicks = |row: &Option<wire::CountRow>| {
            row.as_ref().and_then(|row| row.metrics).map_or("-".to_string(), |metrics| grouped(metrics.clicks))
        };
        text += &format!(
            "epoch {}  {}  {}  clicks {} -> {}\n",
            part.epoch,
            time(row.window_start_ms),
            row.ad_id.escape_debug(),
            clicks(&change.before),
            clicks(&change.after)
        );
    }
    text
}
