//! Questions whose answers go on: server-sent events, and lines of JSON.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tokio::time::{Instant, interval_at};
use tokio_stream::StreamExt as _;

use super::Http;
use super::answer::Answer;
use super::error;
use super::params::{Params, invalid};
use super::sse::{ALIVE_COMMENT, EventWriter, OfEpoch};
use crate::api::errors::CallError;
use crate::api::outlet::Subscription;
use crate::api::{corrections, subscribe};
use crate::convert::json::ToJson as _;
use crate::convert::{base64, wire};

/// How often a silent stream shows that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Where a stream that was broken off goes on, by the standard of server-sent events.
const LAST_EVENT_ID: &str = "last-event-id";
const EVENT_STREAM: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// `GET /v1/changes`.
pub(super) async fn changes(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.client_deadline(&headers)?;
    let resumed = last_event_id(&headers, base64::decode)?;
    let request = wire::SubscribeRequest {
        ad_ids: params.all("ad_id"),
        granularity: params.granularity()?,
        snapshot: params.flag("snapshot")?,
        resume_token: resumed.unwrap_or_default(),
    };
    params.finish()?;
    Ok(events(subscribe::subscribe(&http.shared, request, deadline).await?))
}

/// `GET /v1/corrections`.
pub(super) async fn corrections(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.client_deadline(&headers)?;
    let from_epoch = params.number("from_epoch")?.unwrap_or_default();
    // The id of an event is the epoch that it completes.
    let resumed = last_event_id(&headers, |text| text.parse().ok().and_then(|epoch: u64| epoch.checked_add(1)))?;
    let request =
        wire::StreamCorrectionsRequest { from_epoch: resumed.unwrap_or(from_epoch), follow: params.flag("follow")? };
    params.finish()?;
    let subscription = corrections::stream_corrections(&http.shared, request, deadline).await?;
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    Ok(match accepted.into_iter().any(|value| value.contains(EVENT_STREAM)) {
        true => events(subscription),
        false => lines(subscription),
    })
}

fn last_event_id<T>(headers: &HeaderMap, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, CallError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(read);
    id.map(Some).ok_or_else(|| invalid("Last-Event-ID", "it is no id of an event of this stream"))
}

/// Messages as server-sent events.
fn events<T: OfEpoch + Send + 'static>(subscription: Subscription<T>) -> Response {
    let mut writer = EventWriter::default();
    let alive = interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
    let texts = subscription.timeout_repeating(alive).map(move |next| match next {
        Ok(Ok(message)) => writer.message(&message),
        Ok(Err(error)) => writer.error(&error),
        Err(_) => ALIVE_COMMENT.to_string(),
    });
    respond(EVENT_STREAM, texts)
}

/// Messages as lines of JSON; the last word is an error's object.
fn lines(subscription: Subscription<wire::StreamCorrectionsResponse>) -> Response {
    let texts = subscription.map(|next| match next {
        Ok(message) => format!("{}\n", message.to_json()),
        Err(error) => format!("{}\n", error::body(&error)),
    });
    respond(LINES, texts)
}

fn respond(content_type: &'static str, texts: impl tokio_stream::Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(texts.map(|text| Ok::<_, Infallible>(Bytes::from(text))));
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")], body).into_response()
}
