//! Records that count nowhere, listed.

use recount_dataflow::domain::validate::Shelf;

use super::SetAsideArgs;
use super::client::{Client, print_json, refused};
use crate::cli::CliError;
use crate::cli::stdout::print;
use crate::cli::table::{Align, Style, Table, grouped, time};
use crate::convert::wire;

/// Records of a page: a page has at most four mebibytes anyway.
pub(in crate::cli) const PAGE: i32 = 1_000;
/// Records of a table, where nobody says how many.
pub(in crate::cli) const LISTED: usize = 100;
/// Bytes of a record that a table shows.
const SHOWN_BYTES: usize = 60;

/// `query quarantined` and `query parked`: page after page.
pub(super) async fn list(mut client: Client, shelf: Shelf, args: SetAsideArgs, json: bool) -> Result<(), CliError> {
    let reason = args.reason.unwrap_or_default();
    let mut message = wire::ListSetAsideRequest { page_size: PAGE, reason, ..Default::default() };
    let mut listing = Listing::new(json, args.limit);
    loop {
        let request = client.request(message.clone());
        let answer = match shelf {
            Shelf::Parked => client.stub.list_parked(request).await,
            Shelf::Quarantined => client.stub.list_quarantined(request).await,
        };
        let page = answer.map_err(refused)?.into_inner();
        for record in &page.records {
            if !listing.show(record)? {
                return listing.finish();
            }
        }
        // A page may have no records and not be the last.
        if page.next_page_token.is_empty() {
            return listing.finish();
        }
        message.page_token = page.next_page_token;
    }
}

/// Records on their way to standard output: a table, or a line of JSON each.
pub(in crate::cli) struct Listing {
    json: bool,
    /// How many more are shown.
    left: usize,
    has_more: bool,
    table: Table,
}

impl Listing {
    /// Of at most `limit` records. Where there is none, a table ends by itself and lines of JSON do not.
    pub(in crate::cli) fn new(json: bool, limit: Option<usize>) -> Self {
        let table = Table::new(&[
            ("set aside", Align::Left),
            ("where", Align::Left),
            ("reason", Align::Left),
            ("detail", Align::Left),
            ("bytes", Align::Right),
            ("record", Align::Left),
        ]);
        Listing { json, left: limit.unwrap_or(if json { usize::MAX } else { LISTED }), has_more: false, table }
    }

    /// Shows one more; `false` where there were enough already.
    pub(in crate::cli) fn show(&mut self, record: &wire::SetAside) -> Result<bool, CliError> {
        if self.left == 0 {
            self.has_more = true;
            return Ok(false);
        }
        self.left -= 1;
        if self.json {
            print_json(record)?;
            return Ok(true);
        }
        self.table.row(vec![
            set_aside_at(record.set_aside_at_ms),
            place(record.position.as_ref()),
            record.reason.clone(),
            record.detail.clone(),
            grouped(record.payload_length),
            beginning(&record.payload),
        ]);
        Ok(true)
    }

    /// Writes the table, and says where there are more.
    pub(in crate::cli) fn finish(self) -> Result<(), CliError> {
        if self.json {
            return Ok(());
        }
        print(&self.table.render(Style::for_stdout()))?;
        if self.has_more {
            eprintln!("there are more; --limit shows them");
        }
        Ok(())
    }
}

/// A verdict that has met no click was never set aside.
fn set_aside_at(set_aside_at_ms: i64) -> String {
    match set_aside_at_ms {
        0 => "-".to_owned(),
        set_aside_at_ms => time(set_aside_at_ms),
    }
}

/// A position for people.
pub(super) fn place(position: Option<&wire::SourcePosition>) -> String {
    position.map_or_else(String::new, |at| format!("{}/{}@{}", at.source, at.partition, at.next_offset))
}

/// The beginning of a payload, for a table.
pub(in crate::cli) fn beginning(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN_BYTES)]);
    let dots = if payload.len() > SHOWN_BYTES { ".." } else { "" };
    format!("{text}{dots}")
}
