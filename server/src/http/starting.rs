//! What HTTP answers while the service starts: that it lives, and that it can not be asked yet. Whoever watches over the process would
//! otherwise take it for dead.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};

use super::error::HttpError;
use super::probes::livez;
use crate::api::errors::CallError;

/// The answer to any request.
pub(crate) async fn starting(request: Request) -> Response {
    match request.uri().path() {
        "/livez" => livez().await.into_response(),
        _ => HttpError::from(CallError::starting()).into_response(),
    }
}
