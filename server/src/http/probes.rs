//! For those who watch over the service: is it alive, may it be asked, how is it doing.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Http;
use super::error::HttpError;
use crate::api::CallError;

/// The text that Prometheus takes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// The service may be asked: it listens once its state is readable, so all that is left is whether it goes down.
pub(super) async fn readyz(State(http): State<Http>) -> Result<&'static str, HttpError> {
    match *http.shared.shutdown.borrow() {
        true => Err(CallError::shutting_down().into()),
        false => Ok("ready\n"),
    }
}

/// What the service counts and measures.
pub(super) async fn metrics(State(http): State<Http>) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], http.metrics.text()).into_response()
}
