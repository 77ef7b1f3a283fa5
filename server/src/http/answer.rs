//! Answers in JSON.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::error::HttpError;
use crate::convert::json::ToJson;

/// An answer, or why there is none.
pub(super) type Answer = Result<Response, HttpError>;

/// The answer to a question.
pub(super) fn ok(message: &impl ToJson) -> Response {
    let mut body = Vec::new();
    message.write_json(&mut body);
    json_response(StatusCode::OK, body)
}

/// A response of JSON.
pub(super) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
