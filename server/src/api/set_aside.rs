//! `ListQuarantined` and `ListParked`.
//!
//! Every page of a listing shows what had been set aside by the epoch of its first page, so that a listing ends although more
//! is set aside meanwhile.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use recount_dataflow::domain::validate::Shelf;
use recount_dataflow::read::UnmatchedPlace;

use super::call::Shared;
use super::check;
use super::errors::CallError;
use super::page::Budget;
use super::token::{Token, TokenKind, fingerprint};
use super::unmatched::{self, UNMATCHED};
use crate::convert::{to_wire, wire};

/// Records are looked at in steps, since those that came after the listing's epoch are passed over.
const STEP: usize = 256;

/// A checked request: which list, and where its page begins.
struct Listing {
    shelf: Shelf,
    reason: Option<String>,
    records: usize,
    /// Identifies the request in its page tokens.
    request: u64,
    /// The epoch of the first page.
    epoch: u64,
    begin: Begin,
}

/// Where a page begins.
#[derive(Clone, Copy)]
enum Begin {
    /// Behind the record with this number.
    After(u64),
    /// With the verdict at this place, of those that have met no click.
    At(UnmatchedPlace),
}

/// The records that were quarantined, or parked.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    shelf: Shelf,
    request: wire::ListSetAsideRequest,
    deadline: Instant,
) -> Result<wire::ListSetAsideResponse, CallError> {
    let listing = Listing::check(shared, shelf, request)?;
    let page = move |shared: &Shared| match listing.begin {
        Begin::After(number) => Ok(listing.page(shared, number)),
        Begin::At(place) => listing.page_of_unmatched(shared, place, deadline),
    };
    shared.read(deadline, page).await
}

impl Listing {
    fn check(shared: &Shared, shelf: Shelf, mut request: wire::ListSetAsideRequest) -> Result<Listing, CallError> {
        let records = check::page_rows(request.page_size)?;
        let (epoch, begin) = if request.page_token.is_empty() {
            (shared.reader.readable().upper - 1, Begin::of_first_page(shelf, &request.reason))
        } else {
            let token = Token::decode(&request.page_token, TokenKind::SetAside, shared.lineage.number())?;
            let (begin, reason) = Begin::decode(&token.cursor).ok_or_else(|| TokenKind::SetAside.no_token())?;
            // What the request of a page leaves out is as in the first page's.
            if request.reason.is_empty() {
                request.reason = reason;
            }
            token.check_request(identity(shelf, &request.reason))?;
            (token.epoch, begin)
        };
        let request_id = identity(shelf, &request.reason);
        let reason = (!request.reason.is_empty()).then_some(request.reason);
        Ok(Listing { shelf, reason, records, request: request_id, epoch, begin })
    }

    fn page(&self, shared: &Shared, mut after: u64) -> wire::ListSetAsideResponse {
        let mut page = wire::ListSetAsideResponse::default();
        let mut budget = Budget::new(self.records);
        loop {
            let step = shared.reader.set_aside(self.shelf, self.reason.as_deref(), after, STEP);
            let last = step.len() < STEP;
            for (number, record) in step {
                if record.epoch <= self.epoch {
                    let message = to_wire::set_aside(&record, &shared.streams());
                    if !budget.take(message.encoded_len()) {
                        page.next_page_token = self.token(shared, Begin::After(after));
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

    fn page_of_unmatched(
        &self,
        shared: &Shared,
        from: UnmatchedPlace,
        deadline: Instant,
    ) -> Result<wire::ListSetAsideResponse, CallError> {
        let (records, next) = unmatched::page(shared, self.epoch, from, self.records, deadline)?;
        let next_page_token = next.map(|place| self.token(shared, Begin::At(place))).unwrap_or_default();
        Ok(wire::ListSetAsideResponse { records, next_page_token })
    }

    fn token(&self, shared: &Shared, begin: Begin) -> Vec<u8> {
        let cursor = begin.encode(self.reason.as_deref().unwrap_or_default());
        let (lineage, epoch) = (shared.lineage.number(), self.epoch);
        Token { kind: TokenKind::SetAside, lineage, epoch, request: self.request, cursor }.encode()
    }
}

/// The identity of a listing in its page tokens, which must not change: a token may be older than this process.
fn identity(shelf: Shelf, reason: &str) -> u64 {
    let is_parked = shelf == Shelf::Parked;
    fingerprint(format!("{is_parked}/{reason}").as_bytes())
}

impl Begin {
    fn of_first_page(shelf: Shelf, reason: &str) -> Begin {
        match shelf == Shelf::Parked && reason == UNMATCHED {
            true => Begin::At(UnmatchedPlace::default()),
            false => Begin::After(0),
        }
    }

    /// The cursor of a page token: which of the two, what it holds, and the reason that the listing is narrowed to.
    fn encode(self, reason: &str) -> Vec<u8> {
        match self {
            Begin::After(number) => [&[0], number.to_le_bytes().as_slice(), reason.as_bytes()].concat(),
            Begin::At(place) => [&[1], unmatched::encode(place).as_slice(), reason.as_bytes()].concat(),
        }
    }

    fn decode(cursor: &[u8]) -> Option<(Begin, String)> {
        let (begin, reason) = match cursor.split_first()? {
            (0, rest) => {
                let (number, reason) = rest.split_first_chunk()?;
                (Begin::After(u64::from_le_bytes(*number)), reason)
            }
            (1, rest) => {
                let (place, reason) = rest.split_first_chunk()?;
                (Begin::At(unmatched::decode(place)), reason)
            }
            _ => return None,
        };
        Some((begin, String::from_utf8(reason.to_vec()).ok()?))
    }
}
