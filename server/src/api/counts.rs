//! `GetCounts` and `ListTopAds`.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use recount_dataflow::domain::metrics::Metric;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::read::Snapshot;

use super::call::Shared;
use super::check::{self, Range};
use super::errors::{CallError, ErrorReason};
use super::page::Budget;
use super::token::{Token, TokenKind, fingerprint};
use crate::convert::{to_wire, wire};
use crate::limits::{INLINE_WINDOWS_MAX, ROW_BYTES_MAX, SLICE_WINDOWS};

/// Rows that a page has room for from the start, at most.
const ROWS_RESERVED_MAX: i64 = 256;

/// A checked request for rows.
struct CountsQuery {
    ads: Vec<String>,
    range: Range,
    granularity: Granularity,
    rows: usize,
    /// The request without what may differ from page to page. Its page tokens carry it.
    request: Vec<u8>,
}

/// Where a page begins: at the first window of an ad at or after a time.
struct Cursor {
    ad_id: String,
    start_ms: i64,
}

/// What a page token says: where the page begins, and in which listing.
struct Page {
    cursor: Cursor,
    request: wire::GetCountsRequest,
}

/// The rows of some ads over a range of windows.
pub(crate) async fn get_counts(
    shared: &Arc<Shared>,
    request: wire::GetCountsRequest,
    deadline: Instant,
) -> Result<wire::GetCountsResponse, CallError> {
    let (query, snapshot, cursor) = if request.page_token.is_empty() {
        let read = request.read.clone();
        let query = CountsQuery::check(request)?;
        (query, shared.snapshot(read.as_ref(), deadline).await?, None)
    } else {
        let token = Token::decode(&request.page_token, TokenKind::Counts, shared.lineage.number())?;
        let page = Page::decode(&token.cursor)?;
        let query = CountsQuery::check(page.fill(request))?;
        token.check_request(fingerprint(&query.request))?;
        (query, shared.reader.snapshot(Some(token.epoch))?, Some(page.cursor))
    };
    if query.windows() <= INLINE_WINDOWS_MAX {
        return query.page(shared, &snapshot, cursor, deadline);
    }
    shared.read(deadline, move |shared| query.page(shared, &snapshot, cursor, deadline)).await
}

impl CountsQuery {
    fn check(mut request: wire::GetCountsRequest) -> Result<CountsQuery, CallError> {
        let rows = check::page_rows(request.page_size)?;
        let granularity = check::granularity(request.granularity)?;
        let range = check::range(request.start_ms, request.end_ms)?;
        let ads = check::ads(std::mem::take(&mut request.ad_ids))?;
        // The size of a page may change from one to the next, nothing else.
        request.ad_ids.clone_from(&ads);
        request.page_size = 0;
        request.page_token.clear();
        Ok(CountsQuery { ads, range, granularity, rows, request: request.encode_to_vec() })
    }

    /// How many windows the answer can have, over all ads.
    fn windows(&self) -> i64 {
        let windows_per_ad = (self.range.end_ms - self.range.start_ms) / self.granularity.size_ms() + 1;
        windows_per_ad.saturating_mul(self.ads.len() as i64)
    }

    fn page(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        cursor: Option<Cursor>,
        deadline: Instant,
    ) -> Result<wire::GetCountsResponse, CallError> {
        let mut page = wire::GetCountsResponse { snapshot: Some(shared.wire_snapshot(snapshot)), ..Default::default() };
        // A small answer is mostly as long as its range has windows.
        page.rows.reserve(self.windows().min(ROWS_RESERVED_MAX) as usize);
        let mut budget = Budget::new(self.rows);
        let first = cursor.as_ref().map_or(0, |cursor| self.ads.partition_point(|ad_id| *ad_id < cursor.ad_id));
        let mut start_ms = cursor.map_or(self.range.start_ms, |cursor| cursor.start_ms);
        for ad_id in &self.ads[first..] {
            while start_ms < self.range.end_ms {
                if Instant::now() >= deadline {
                    return Err(CallError::deadline());
                }
                let slice_ms = SLICE_WINDOWS * self.granularity.size_ms();
                let end_ms = self.range.end_ms.min(start_ms + slice_ms);
                let mut full_at_ms = None;
                snapshot.for_each_row_in(ad_id, self.granularity, start_ms, end_ms, |row| {
                    if full_at_ms.is_none() {
                        let message = to_wire::row(row);
                        match budget.take_up_to(ROW_BYTES_MAX, || message.encoded_len()) {
                            true => page.rows.push(message),
                            false => full_at_ms = Some(row.window_start_ms),
                        }
                    }
                })?;
                if let Some(start_ms) = full_at_ms {
                    page.next_page_token = self.token(shared, snapshot, &Cursor { ad_id: ad_id.clone(), start_ms });
                    return Ok(page);
                }
                start_ms = end_ms;
            }
            start_ms = self.range.start_ms;
        }
        Ok(page)
    }

    fn token(&self, shared: &Shared, snapshot: &Snapshot, cursor: &Cursor) -> Vec<u8> {
        let (lineage, epoch) = (shared.lineage.number(), snapshot.as_of());
        let (request, cursor) = (fingerprint(&self.request), cursor.encode(&self.request));
        Token { kind: TokenKind::Counts, lineage, epoch, request, cursor }.encode()
    }
}

impl Cursor {
    /// The cursor in front of the request that it belongs to.
    fn encode(&self, request: &[u8]) -> Vec<u8> {
        let ad_bytes = u8::try_from(self.ad_id.len()).expect("a checked ad id has at most 128 bytes");
        [&self.start_ms.to_le_bytes()[..], &[ad_bytes], self.ad_id.as_bytes(), request].concat()
    }
}

impl Page {
    fn decode(bytes: &[u8]) -> Result<Page, CallError> {
        let parse = || {
            let (start, rest) = bytes.split_first_chunk::<8>()?;
            let (&ad_bytes, rest) = rest.split_first()?;
            let (ad_id, request) = rest.split_at_checked(ad_bytes.into())?;
            let cursor =
                Cursor { ad_id: String::from_utf8(ad_id.to_vec()).ok()?, start_ms: i64::from_le_bytes(*start) };
            Some(Page { cursor, request: wire::GetCountsRequest::decode(request).ok()? })
        };
        parse().ok_or_else(|| TokenKind::Counts.no_token())
    }

    /// The request of a page: what it leaves out is as in the first page's.
    fn fill(&self, mut request: wire::GetCountsRequest) -> wire::GetCountsRequest {
        let first = &self.request;
        if request.ad_ids.is_empty() {
            request.ad_ids.clone_from(&first.ad_ids);
        }
        if (request.start_ms, request.end_ms) == (0, 0) {
            (request.start_ms, request.end_ms) = (first.start_ms, first.end_ms);
        }
        if request.granularity == 0 {
            request.granularity = first.granularity;
        }
        request.read = request.read.or_else(|| first.read.clone());
        request
    }
}

/// The ads with the most of a metric over a range of time.
pub(crate) async fn list_top_ads(
    shared: &Arc<Shared>,
    request: wire::ListTopAdsRequest,
    deadline: Instant,
) -> Result<wire::ListTopAdsResponse, CallError> {
    let range = check::range_of_minutes(request.start_ms, request.end_ms)?;
    let order_by = check::metric(&request.order_by)?;
    let limit = check::limit(request.limit)?;
    let unique_users_known = check::one_window(range).is_some();
    if order_by == Metric::UniqueUsers && !unique_users_known {
        let message =
            "unique users do not add up over windows; the range must be one minute, five minutes, hour or day";
        return Err(CallError::field(ErrorReason::UniqueUsersNeedOneWindow, "order_by", message));
    }
    let snapshot = shared.snapshot(request.read.as_ref(), deadline).await?;
    let answer = shared.read(deadline, move |shared| {
        let top = snapshot.top(range.start_ms, range.end_ms, order_by, limit, Some(deadline))?;
        let top_ad = |(ad_id, metrics): (Arc<str>, _)| wire::TopAd {
            ad_id: ad_id.to_string(),
            metrics: Some(to_wire::metrics(&metrics)),
            unique_users_known,
        };
        let ads = top.into_iter().map(top_ad).collect();
        Ok(wire::ListTopAdsResponse { snapshot: Some(shared.wire_snapshot(&snapshot)), ads })
    });
    answer.await
}
