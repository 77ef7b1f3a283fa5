//! Questions with one answer.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use http_body_util::{BodyExt as _, Limited};
use recount_dataflow::domain::validate::Shelf;
use tokio::task;
use tokio::time::timeout_at;

use super::Http;
use super::answer::{Answer, ok};
use super::params::Params;
use crate::api::errors::{CallError, ErrorReason};
use crate::api::{counts, explain, set_aside, status};
use crate::convert::{from_json, wire};
use crate::limits::{INLINE_ROWS_MAX, REQUEST_BYTES_MAX};

/// `GET /v1/counts`.
pub(super) async fn counts(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.deadline(&headers)?;
    let page_token = params.token("page_token")?.unwrap_or_default();
    let (start_ms, end_ms) = match page_token.is_empty() {
        true => range(&mut params)?,
        false => (params.time("start")?.unwrap_or_default(), params.time("end")?.unwrap_or_default()),
    };
    let request = wire::GetCountsRequest {
        ad_ids: params.all("ad_id"),
        start_ms,
        end_ms,
        granularity: params.granularity()?,
        read: params.read_at()?,
        page_size: params.number("page_size")?.unwrap_or_default(),
        page_token,
    };
    params.finish()?;
    answer_counts(&http, request, deadline).await
}

/// `POST /v1/counts`.
pub(super) async fn counts_of_body(State(http): State<Http>, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.deadline(&headers)?;
    params.finish()?;
    let body = request_body(body, deadline).await?;
    let request = from_json::get_counts_request(&body);
    let request = request.map_err(|problem| CallError::new(ErrorReason::BodyInvalid, problem))?;
    answer_counts(&http, request, deadline).await
}

/// `GET /v1/top`.
pub(super) async fn top(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.deadline(&headers)?;
    let (start_ms, end_ms) = range(&mut params)?;
    let request = wire::ListTopAdsRequest {
        start_ms,
        end_ms,
        order_by: params.one("order_by")?.unwrap_or_default(),
        limit: params.number("limit")?.unwrap_or_default(),
        read: params.read_at()?,
    };
    params.finish()?;
    let answer = counts::list_top_ads(&http.shared, request, deadline).await?;
    Ok(ok(&answer))
}

/// `GET /v1/explain`.
pub(super) async fn explain(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    let deadline = params.deadline(&headers)?;
    let request = wire::ExplainCountRequest {
        ad_id: params.one("ad_id")?.unwrap_or_default(),
        granularity: params.granularity()?,
        window_start_ms: required("window_start", params.time("window_start")?)?,
        read: params.read_at()?,
        limit: params.number("limit")?.unwrap_or_default(),
    };
    params.finish()?;
    let answer = explain::explain_count(&http.shared, request, deadline).await?;
    Ok(ok(&answer))
}

/// `GET /v1/status`.
pub(super) async fn status(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    let mut params = Params::of(&uri)?;
    // It is at hand; the parameter is taken as everywhere.
    params.deadline(&headers)?;
    params.finish()?;
    Ok(ok(&status::get_status(&http.shared)?))
}

/// `GET /v1/quarantine`.
pub(super) async fn quarantine(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    set_aside(&http, Shelf::Quarantined, &uri, &headers).await
}

/// `GET /v1/parked`.
pub(super) async fn parked(State(http): State<Http>, uri: Uri, headers: HeaderMap) -> Answer {
    set_aside(&http, Shelf::Parked, &uri, &headers).await
}

async fn set_aside(http: &Http, shelf: Shelf, uri: &Uri, headers: &HeaderMap) -> Answer {
    let mut params = Params::of(uri)?;
    let deadline = params.deadline(headers)?;
    let request = wire::ListSetAsideRequest {
        page_size: params.number("page_size")?.unwrap_or_default(),
        page_token: params.token("page_token")?.unwrap_or_default(),
        reason: params.one("reason")?.unwrap_or_default(),
    };
    params.finish()?;
    let answer = set_aside::list(&http.shared, shelf, request, deadline).await?;
    Ok(ok(&answer))
}

async fn answer_counts(http: &Http, request: wire::GetCountsRequest, deadline: Instant) -> Answer {
    let answer = counts::get_counts(&http.shared, request, deadline).await?;
    if answer.rows.len() <= INLINE_ROWS_MAX {
        return Ok(ok(&answer));
    }
    let written = task::spawn_blocking(move || ok(&answer)).await;
    written.map_err(|_| CallError::bug().into())
}

/// A range that a request has to name, lest an empty one looks like an answer.
fn range(params: &mut Params) -> Result<(i64, i64), CallError> {
    Ok((required("start", params.time("start")?)?, required("end", params.time("end")?)?))
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, CallError> {
    value.ok_or_else(|| super::params::invalid(name, "it is missing; write ms since 1970, or RFC 3339"))
}

/// The whole of a body that holds a request, within its bound and the deadline.
async fn request_body(body: Body, deadline: Instant) -> Result<Vec<u8>, CallError> {
    let whole = timeout_at(deadline.into(), Limited::new(body, REQUEST_BYTES_MAX).collect()).await;
    match whole.map_err(|_| CallError::deadline())? {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(cause) if cause.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is over {REQUEST_BYTES_MAX} bytes");
            Err(CallError::new(ErrorReason::BodyTooLarge, message).with("limit_bytes", REQUEST_BYTES_MAX))
        }
        Err(cause) => Err(CallError::new(ErrorReason::BodyInvalid, format!("the body can not be read: {cause}"))),
    }
}
