//! `POST /v1/events`: events in, durable before the answer.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time::timeout_at;

use super::Http;
use super::answer::{Answer, json_response};
use super::params::Params;
use crate::api::errors::{CallError, ErrorReason};
use crate::api::events::Events;
use crate::api::ingest::{Ingest, Judged};
use crate::convert::json::ToJson as _;
use crate::convert::raw;
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_UNIT_BYTES, BODY_WORKERS, ZSTD_WINDOW_LOG_MAX};

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers of bodies share: bounds on what they hold at once.
pub(super) struct Bodies {
    /// Bytes of bodies that are being received, in units of [`BODY_UNIT_BYTES`].
    received: Arc<Semaphore>,
    /// Bodies that are being inflated and read.
    workers: Arc<Semaphore>,
}

/// How the events of a body are written.
#[derive(Clone, Copy)]
enum Kind {
    Json,
    Lines,
    Protobuf,
}

/// How a body is compressed.
#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Bodies {
    pub(super) fn new() -> Bodies {
        let received = Arc::new(Semaphore::new(BODIES_BYTES_MAX / BODY_UNIT_BYTES));
        Bodies { received, workers: Arc::new(Semaphore::new(BODY_WORKERS)) }
    }
}

/// `POST /v1/events`.
pub(super) async fn append(State(http): State<Http>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.deadline(&headers)?;
    params.finish()?;
    let ingest = http.door.ingest()?;
    let (kind, coding) = (kind(&headers)?, coding(&headers)?);
    let body = receive(&http.bodies, body, deadline.min(Instant::now() + BODY_TIMEOUT)).await?;
    let worker = timeout_at(deadline.into(), http.bodies.workers.clone().acquire_owned()).await;
    let worker = worker.map_err(|_| CallError::deadline())?.expect("the semaphore is never closed");
    let judging = {
        let ingest = Arc::clone(ingest);
        task::spawn_blocking(move || judge(&ingest, kind, coding, &body, worker))
    };
    let (judged, room, request_id) = judging.await.map_err(|_| CallError::bug())??;
    let pending = ingest.append(judged, room);
    let answer = ingest.answer(pending, request_id, Some(deadline)).await?;
    Ok(json_response(StatusCode::ACCEPTED, answer.to_json().to_string()))
}

/// A body, and its share of what may be held.
struct Received {
    pieces: Vec<Bytes>,
    shares: Vec<OwnedSemaphorePermit>,
}

/// Receives a body within its bounds. What is not sent yet takes no room, so a slow client holds what it has sent.
async fn receive(bodies: &Bodies, mut body: Body, deadline: Instant) -> Result<Received, CallError> {
    let mut received = Received { pieces: Vec::new(), shares: Vec::new() };
    let mut bytes = 0;
    loop {
        let frame = timeout_at(deadline.into(), body.frame()).await.map_err(|_| CallError::deadline())?;
        let Some(frame) = frame else { return Ok(received) };
        let frame = frame
            .map_err(|cause| CallError::new(ErrorReason::BodyInvalid, format!("the body can not be read: {cause}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        bytes += piece.len();
        if bytes > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let units = bytes.div_ceil(BODY_UNIT_BYTES) - received.units();
        if units > 0 {
            let share = bodies.received.clone().try_acquire_many_owned(units as u32).map_err(|_| {
                CallError::new(ErrorReason::IngestBusy, "more bodies are being received than may be; come again")
            })?;
            received.shares.push(share);
        }
        received.pieces.push(piece);
    }
}

impl Received {
    fn units(&self) -> usize {
        self.shares.iter().map(OwnedSemaphorePermit::num_permits).sum()
    }
}

/// Inflates, reads and judges a body.
fn judge(
    ingest: &Arc<Ingest>,
    kind: Kind,
    coding: Coding,
    body: &Received,
    _worker: OwnedSemaphorePermit,
) -> Result<(Judged, OwnedSemaphorePermit, String), CallError> {
    let body = inflate(coding, &body.pieces)?;
    let (events, request_id) = match kind {
        Kind::Json => (Events::Json(body), String::new()),
        Kind::Lines => (Events::Lines(body), String::new()),
        Kind::Protobuf => {
            let request = raw::AppendRequest::decode(Bytes::from(body));
            let request = request.map_err(|cause| {
                CallError::new(ErrorReason::BodyInvalid, format!("the body is no AppendRequest: {cause}"))
            })?;
            (Events::Messages(request.events), request.request_id)
        }
    };
    let room = ingest.try_room(events.bytes())?;
    Ok((ingest.judge(&events)?, room, request_id))
}

fn inflate(coding: Coding, pieces: &[Bytes]) -> Result<Vec<u8>, CallError> {
    let body = Pieces { pieces: pieces.iter(), front: &[] };
    let broken =
        |cause: io::Error| CallError::new(ErrorReason::BodyInvalid, format!("the body can not be inflated: {cause}"));
    match coding {
        Coding::Identity => Ok(pieces.concat()),
        Coding::Gzip => bounded(MultiGzDecoder::new(body)).map_err(broken)?,
        Coding::Zstd => {
            let mut decoder = zstd::Decoder::new(body).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
            bounded(decoder).map_err(broken)?
        }
    }
}

/// Reads what does not outgrow a body.
fn bounded(reader: impl Read) -> io::Result<Result<Vec<u8>, CallError>> {
    let mut bytes = Vec::new();
    reader.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > BODY_BYTES_MAX { Err(too_large()) } else { Ok(bytes) })
}

/// Reads pieces one after the other.
struct Pieces<'a> {
    pieces: std::slice::Iter<'a, Bytes>,
    front: &'a [u8],
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.front.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.front = piece,
                None => return Ok(0),
            }
        }
        self.front.read(buffer)
    }
}

fn too_large() -> CallError {
    let message = format!("the body is over {BODY_BYTES_MAX} bytes, as it came or inflated; send it in pieces");
    CallError::new(ErrorReason::BodyTooLarge, message).with("limit_bytes", BODY_BYTES_MAX)
}

fn kind(headers: &HeaderMap) -> Result<Kind, CallError> {
    let value = header(headers, CONTENT_TYPE);
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Kind::Json),
        "application/x-ndjson" => Ok(Kind::Lines),
        "application/x-protobuf" => Ok(Kind::Protobuf),
        other => {
            let message = format!(
                "events can not be read as {other:?}; Content-Type must be application/json, application/x-ndjson or \
                 application/x-protobuf"
            );
            Err(CallError::new(ErrorReason::MediaTypeUnknown, message))
        }
    }
}

fn coding(headers: &HeaderMap) -> Result<Coding, CallError> {
    match header(headers, CONTENT_ENCODING).trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" => Ok(Coding::Gzip),
        "zstd" => Ok(Coding::Zstd),
        other => {
            let message = format!("a body can not be inflated by {other:?}; Content-Encoding may be gzip or zstd");
            Err(CallError::new(ErrorReason::MediaTypeUnknown, message))
        }
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
