//! `ListQuarantined` and `ListParked`.
//!
//! Every page of a listing shows what had been set aside by the epoch of its first page, so that a listing ends although more
//! is set aside meanwhile.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;

use super::call::Shared;
use super::check;
use super::errors::{CallError, ErrorReason};
use super::page::Budget;
use super::token::{Token, TokenKind, fingerprint};
use crate::convert::{to_wire, wire};
use crate::limits::UNMATCHED_MAX;

/// The reason under which verdicts are listed that have met no click.
const UNMATCHED: &str = "unmatched";

/// Records are looked at in steps, since those that came after the listing's epoch are passed over.
const STEP: usize = 256;

/// A checked request: which list, and where its page begins.
struct Listing {
    parked: bool,
    reason: Option<String>,
    records: usize,
    /// Identifies the request in its page tokens.
    request: u64,
    /// The epoch of the first page.
    epoch: u64,
    /// The number of the last record of the page before.
    after: u64,
}

/// The records that were quarantined, or parked.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    parked: bool,
    request: wire::ListSetAsideRequest,
    deadline: Instant,
) -> Result<wire::ListSetAsideResponse, CallError> {
    let listing = Listing::check(shared, parked, request)?;
    let unmatched = parked && listing.reason.as_deref() == Some(UNMATCHED);
    let page = move |shared: &Shared| match unmatched {
        true => listing.page_of_unmatched(shared, deadline),
        false => Ok(listing.page(shared)),
    };
    shared.read(deadline, page).await
}

impl Listing {
    fn check(shared: &Shared, parked: bool, mut request: wire::ListSetAsideRequest) -> Result<Listing, CallError> {
        let records = check::page_rows(request.page_size)?;
        let (epoch, after) = if request.page_token.is_empty() {
            (shared.reader.readable().upper - 1, 0)
        } else {
            let token = Token::decode(&request.page_token, TokenKind::SetAside, shared.lineage.number())?;
            let (after, reason) = decode_cursor(&token.cursor).ok_or_else(|| {
                CallError::field(ErrorReason::PageTokenInvalid, "page_token", "this is no token of this service")
            })?;
            // What the request of a page leaves out is as in the first page's.
            if request.reason.is_empty() {
                request.reason = reason;
            }
            token.check_request(identity(parked, &request.reason))?;
            (token.epoch, after)
        };
        let request_id = identity(parked, &request.reason);
        let reason = (!request.reason.is_empty()).then_some(request.reason);
        Ok(Listing { parked, reason, records, request: request_id, epoch, after })
    }

    fn page(&self, shared: &Shared) -> wire::ListSetAsideResponse {
        let mut page = wire::ListSetAsideResponse::default();
        let mut budget = Budget::new(self.records);
        let mut after = self.after;
        loop {
            let step = shared.reader.set_aside(self.parked, self.reason.as_deref(), after, STEP);
            let last = step.len() < STEP;
            for (number, record) in step {
                if record.epoch <= self.epoch {
                    let message = to_wire::set_aside(&record, &shared.streams());
                    if !budget.take(message.encoded_len()) {
                        page.next_page_token = self.token(shared, after);
                        return page;
                    }
                    page.records.push(message);
                }
                after = number;
            }
            if last {
                return page;
            }
        }
    }

    /// Verdicts that have met no click as of the listing's epoch. Here a record's number is its place in the list.
    fn page_of_unmatched(&self, shared: &Shared, deadline: Instant) -> Result<wire::ListSetAsideResponse, CallError> {
        let snapshot = shared.reader.snapshot(Some(self.epoch))?;
        let positions = snapshot.unmatched_verdicts(UNMATCHED_MAX, Some(deadline))?;
        let mut page = wire::ListSetAsideResponse::default();
        let mut budget = Budget::new(self.records);
        for (place, &position) in positions.iter().enumerate().skip(self.after as usize) {
            if Instant::now() >= deadline {
                return Err(CallError::deadline());
            }
            let raw = shared.evidence.raw(position);
            let detail = match raw {
                Some(_) => "the verdict has met no click",
                None => "the verdict has met no click; its record can not be read any more",
            };
            let payload = raw.unwrap_or_default();
            let message = wire::SetAside {
                reason: UNMATCHED.into(),
                detail: detail.into(),
                position: Some(to_wire::record_position(&shared.streams(), position)),
                payload_length: payload.len() as i64,
                payload,
                set_aside_at_ms: 0,
            };
            if !budget.take(message.encoded_len()) {
                page.next_page_token = self.token(shared, place as u64);
                break;
            }
            page.records.push(message);
        }
        Ok(page)
    }

    fn token(&self, shared: &Shared, after: u64) -> Vec<u8> {
        let cursor = [&after.to_le_bytes(), self.reason.as_deref().unwrap_or_default().as_bytes()].concat();
        let (lineage, epoch) = (shared.lineage.number(), self.epoch);
        Token { kind: TokenKind::SetAside, lineage, epoch, request: self.request, cursor }.encode()
    }
}

/// The identity of a listing in its page tokens.
fn identity(parked: bool, reason: &str) -> u64 {
    fingerprint(format!("{parked}/{reason}").as_bytes())
}

/// Where a page begins, and the reason that its listing is narrowed to.
fn decode_cursor(cursor: &[u8]) -> Option<(u64, String)> {
    let (after, reason) = cursor.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*after), String::from_utf8(reason.to_vec()).ok()?))
}
