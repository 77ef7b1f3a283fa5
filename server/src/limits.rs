//! What may be asked for, in one place, and why these numbers fit together.

use std::time::Duration;

use recount_dataflow::domain::rules::DAY_MS;
use recount_dataflow::domain::validate::{ID_BYTES_MAX, RECORD_BYTES_MAX};

/// The bounds of the service that are settings.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Reads that run at the same time; the others wait, up to their deadlines.
    pub concurrent_reads: usize,
    /// Subscriptions and correction streams that are open at the same time.
    pub subscribers: usize,
    /// Messages that wait for one subscriber.
    pub subscriber_messages: usize,
    /// How long a subscriber may take nothing, with its buffer full, before it is let go.
    pub subscriber_stall: Duration,
}

/// Worker threads of the engine, at most. Where nothing else is said of it, more than a setting may be is a slip of the pen.
pub const WORKERS_MAX: usize = 256;
/// Records after which an epoch closes, at most.
pub const EPOCH_RECORDS_MAX: usize = 10_000_000;
/// Epochs in flight, at most.
pub const EPOCHS_IN_FLIGHT_MAX: usize = 1_024;
/// Epochs that stay readable, at most.
pub const HISTORY_EPOCHS_MAX: usize = 1_000_000;
/// Calls at the same time on one connection, at most.
pub const CONCURRENT_STREAMS_MAX: usize = 65_536;
/// Reads at the same time, at most: each blocks a thread, and the runtime has so many to block.
pub const CONCURRENT_READS_MAX: usize = 512;
/// Subscriptions at the same time, at most.
pub const SUBSCRIBERS_MAX: usize = 65_536;
/// Messages that wait for one subscriber, at most.
pub const SUBSCRIBER_MESSAGES_MAX: usize = 4_096;
/// Partitions of the log, at most: each is read by a thread.
pub const PARTITIONS_MAX: usize = 4_096;
/// Checkpoints that are kept, at least: where the newest is damaged a start goes on from the one before.
pub const CHECKPOINTS_KEPT_MIN: usize = 2;
/// Checkpoints that are kept, at most.
pub const CHECKPOINTS_KEPT_MAX: usize = 1_000;

/// Ads in one request.
pub const ADS_MAX: usize = 1_000;
/// Rows of a page where the request does not say.
pub const PAGE_ROWS_DEFAULT: usize = 10_000;
/// Rows of the largest page.
pub const PAGE_ROWS_MAX: usize = 100_000;
/// Ads or clicks of an answer where the request does not say.
pub const LIMIT_DEFAULT: usize = 100;
/// Ads or clicks of the largest answer.
pub const LIMIT_MAX: usize = 10_000;
/// Longest range of one read, in ms: ten years.
pub const RANGE_MS_MAX: i64 = 3_660 * DAY_MS;
/// Windows looked up at a time, so that a long range of one ad never becomes one large answer.
pub const SLICE_WINDOWS: i64 = 100_000;
/// A read of at most this many windows is answered in place; a larger one moves to a blocking thread.
pub const INLINE_WINDOWS_MAX: i64 = 2_048;
/// Rows that are written as JSON in place; more move to a blocking thread.
pub const INLINE_ROWS_MAX: usize = 1_024;
/// HTTP connections at the same time; the others wait to be accepted.
pub const HTTP_CONNECTIONS_MAX: usize = 1_024;
/// Largest head of an HTTP request, in bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 128 << 10;
/// How often an HTTP/2 client, of gRPC or not, is asked whether it is still there.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);
/// Copies, verdicts or revisions shown of one click or row.
pub const EVIDENCE_MAX: usize = 1_000;
/// Facts of the ledger that one page of unmatched verdicts looks at, about: a tenth of a second's work or two.
pub const UNMATCHED_FACTS_MAX: usize = 4 << 20;

/// Largest message that is taken in, in bytes: a request is ads and a token.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest message that is sent, in bytes: what clients take unless told otherwise.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// What a page leaves free of it, for its snapshot and token.
pub const RESPONSE_BYTES_SPARE: usize = 256 << 10;
/// Where the changes of an epoch are cut into messages, in bytes.
pub const STREAM_MESSAGE_BYTES: usize = 256 << 10;

/// Events in one AppendRequest.
pub const APPEND_EVENTS_MAX: usize = 10_000;
/// Largest AppendRequest over gRPC, in bytes.
pub const APPEND_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Broken events of one request that are told one by one; a request with more is refused whole.
pub const REFUSALS_MAX: usize = 10_000;
/// Streams of events at the same time.
pub const APPEND_STREAMS_MAX: usize = 256;
/// Requests of one stream that wait for the disk.
pub const APPENDS_IN_FLIGHT: usize = 32;
/// Events up to this many bytes are read in place; more move to a blocking thread.
pub const INLINE_EVENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of events that may be on their way to the disk, over all clients.
pub const APPENDING_BYTES_MAX: usize = 48 << 20;
/// In what steps they are counted.
pub const APPENDING_UNIT_BYTES: usize = 1 << 10;
/// Bytes of a large request that are appended together.
pub const APPEND_PIECE_BYTES: usize = 4 << 20;
/// Largest body of events over HTTP, in bytes, as it came and inflated.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of bodies that may be held while they are received, over all clients.
pub const BODIES_BYTES_MAX: usize = 64 << 20;
/// In what steps they are counted.
pub const BODY_UNIT_BYTES: usize = 16 << 10;
/// Bodies that are inflated and read at the same time.
pub const BODY_WORKERS: usize = 4;
/// Largest window of zstd, as a power of two: what inflates to more than a body needs none larger.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// Bytes of the encoded metrics and numbers of one row or ad, at most.
const NUMBERS_BYTES_MAX: usize = 128;
/// Bytes of one encoded row, at most.
pub const ROW_BYTES_MAX: usize = ID_BYTES_MAX + NUMBERS_BYTES_MAX;

const _: () = assert!(
    LIMIT_MAX * (ID_BYTES_MAX + NUMBERS_BYTES_MAX) < RESPONSE_BYTES_MAX - RESPONSE_BYTES_SPARE,
    "the longest list of top ads fits one message"
);
const _: () = assert!(ADS_MAX * (ID_BYTES_MAX + 8) < REQUEST_BYTES_MAX, "the longest list of ads fits one request");
const _: () = assert!(ADS_MAX * (ID_BYTES_MAX + 8) < RESPONSE_BYTES_SPARE, "a page token carries its request's ads");
const _: () = assert!(
    RECORD_BYTES_MAX + RESPONSE_BYTES_SPARE < RESPONSE_BYTES_MAX,
    "a page can hold the longest record that was set aside"
);
const _: () = assert!(BODY_BYTES_MAX <= APPENDING_BYTES_MAX, "the largest body finds room");
const _: () = assert!(1 << ZSTD_WINDOW_LOG_MAX <= BODY_BYTES_MAX, "a window is no larger than a body");
const _: () = assert!(PAGE_ROWS_DEFAULT <= PAGE_ROWS_MAX && LIMIT_DEFAULT <= LIMIT_MAX);
