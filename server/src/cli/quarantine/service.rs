//! The records that a running service has quarantined.

use tokio::runtime::Builder;
use tonic::Request;

use super::{Outcome, WhichArgs, ingest, shown};
use crate::cli::CliError;
use crate::cli::query::{connect, print, refused};
use crate::cli::table::{Align, Style, Table, grouped, time};
use crate::config::Config;
use crate::convert::json::ToJson as _;
use crate::convert::wire;
use crate::convert::wire::counts_service_client::CountsServiceClient;

/// Records of a page: a page has at most four mebibytes anyway.
const PAGE: i32 = 1_000;
/// Records of a table, where nobody says how many.
const LISTED: usize = 100;

/// `quarantine list`.
pub(super) fn list(config: &Config, which: &WhichArgs, json: bool) -> Result<(), CliError> {
    let mut table = Table::new(&[
        ("set aside", Align::Left),
        ("where", Align::Left),
        ("reason", Align::Left),
        ("detail", Align::Left),
        ("bytes", Align::Right),
        ("record", Align::Left),
    ]);
    let mut more = false;
    let limit = which.limit.unwrap_or(if json { usize::MAX } else { LISTED });
    let mut listed = 0;
    for_each(config, which, |record| {
        if listed == limit {
            more = true;
            return Ok(false);
        }
        listed += 1;
        if json {
            print(&format!("{}\n", record.to_json()))?;
            return Ok(true);
        }
        table.row(vec![
            time(record.set_aside_at_ms),
            place(record.position.as_ref()),
            record.reason.clone(),
            record.detail.clone(),
            grouped(record.payload_length),
            shown(&record.payload),
        ]);
        Ok(true)
    })?;
    if !json {
        print(&table.render(Style::for_stdout()))?;
        if more {
            eprintln!("there are more; --limit shows them");
        }
    }
    Ok(())
}

/// `quarantine replay` to the service itself.
pub(super) fn replay(config: &Config, which: &WhichArgs) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::default();
    let mut left = which.limit.unwrap_or(usize::MAX);
    for_each(config, which, |record| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        match is_whole(record) {
            false => outcome.skip("of a record over 1 MiB only the beginning is kept"),
            true => match ingest::append(config, &record.payload)? {
                None => outcome.accepted += 1,
                Some(reason) => outcome.refuse(reason),
            },
        }
        Ok(true)
    })?;
    Ok(outcome)
}

/// Whether all of a record is kept.
pub(super) fn is_whole(record: &wire::SetAside) -> bool {
    record.payload_length == record.payload.len() as i64
}

fn place(position: Option<&wire::SourcePosition>) -> String {
    position.map_or_else(String::new, |at| format!("{}/{}@{}", at.source, at.partition, at.next_offset))
}

/// Visits the records, oldest first, until the visitor has enough.
pub(super) fn for_each(
    config: &Config,
    which: &WhichArgs,
    mut visit: impl FnMut(&wire::SetAside) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| CliError::failed(format!("the runtime can not be started: {cause}")))?;
    let channel = runtime.block_on(connect(config.grpc_addr, config.query_timeout))?;
    let mut stub = CountsServiceClient::new(channel).max_decoding_message_size(16 << 20);
    let reason = which.reason.clone().unwrap_or_default();
    let mut message = wire::ListSetAsideRequest { page_size: PAGE, reason, ..Default::default() };
    loop {
        let mut request = Request::new(message.clone());
        request.set_timeout(config.query_timeout);
        // Between two pages nothing runs: what is done with a record may take its time.
        let page = runtime.block_on(stub.list_quarantined(request)).map_err(refused)?.into_inner();
        for record in &page.records {
            if !visit(record)? {
                return Ok(());
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        message.page_token = page.next_page_token;
    }
}
