//! For those who watch over the service: is it alive, may it be asked, how is it doing.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use tokio::task;

use super::Http;
use super::answer::Answer;
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
pub(super) async fn metrics(State(http): State<Http>) -> Answer {
    // Some of it is counted when it is asked for.
    let text = task::spawn_blocking(move || http.metrics.text()).await;
    let text = text.map_err(|_| CallError::bug())?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
