//! The records that a running service has quarantined.

use tonic::Request;

use super::{Outcome, WhichArgs, ingest};
use crate::cli::query::set_aside::{Listing, PAGE};
use crate::cli::query::{connect, refused};
use crate::cli::{CliError, runtime};
use crate::config::Config;
use crate::convert::wire;
use crate::convert::wire::counts_service_client::CountsServiceClient;

/// Why a record that is not [whole](is_whole) is not sent.
pub(super) const NOT_WHOLE: &str = "of a record over 1 MiB only the beginning is kept";

/// `quarantine list`.
pub(super) fn list(config: &Config, which: &WhichArgs, json: bool) -> Result<(), CliError> {
    let mut listing = Listing::new(json, which.limit);
    for_each(config, which, |record| listing.show(record))?;
    listing.finish()
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
            false => outcome.skip(NOT_WHOLE),
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

/// Visits the records, oldest first, until the visitor has enough.
pub(super) fn for_each(
    config: &Config,
    which: &WhichArgs,
    mut visit: impl FnMut(&wire::SetAside) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let runtime = runtime()?;
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
