//! HTTP: the questions of [`crate::api`] for curl, browsers and SDKs, in the contract's JSON.
//!
//! [`params`] reads what stands in an address, [`listen`] accepts connections within bounds, [`answer`] writes answers and [`error`]
//! refusals, [`sse`] writes epochs as server-sent events, [`starting`] answers while the service starts. The rest is a file a group of
//! routes.

mod answer;
mod error;
mod events;
mod listen;
mod params;
mod probes;
mod reads;
mod sse;
mod starting;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use self::error::HttpError;
use self::events::Bodies;
pub(crate) use self::listen::serve;
pub(crate) use self::starting::starting;
use crate::api::Shared;
use crate::api::errors::{CallError, ErrorReason};
use crate::api::ingest::Door;
use crate::metrics::Metrics;

/// What handlers share.
#[derive(Clone)]
struct Http {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Where events are taken in, or why they are not.
    door: Door,
    bodies: Arc<Bodies>,
}

/// Every route.
pub(crate) fn router(shared: Arc<Shared>, metrics: Arc<Metrics>, door: Door) -> Router {
    let bodies = Arc::new(Bodies::new());
    Router::new()
        .route("/v1/events", post(events::append))
        .route("/v1/counts", get(reads::counts).post(reads::counts_of_body))
        .route("/v1/top", get(reads::top))
        .route("/v1/explain", get(reads::explain))
        .route("/v1/status", get(reads::status))
        .route("/v1/quarantine", get(reads::quarantine))
        .route("/v1/parked", get(reads::parked))
        .route("/v1/changes", get(streams::changes))
        .route("/v1/corrections", get(streams::corrections))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Http { shared, metrics, door, bodies })
}

async fn unknown_route(uri: Uri) -> HttpError {
    let message = format!("there is nothing at {}; docs/http.md lists what there is", uri.path());
    CallError::new(ErrorReason::RouteUnknown, message).into()
}

async fn wrong_method(method: Method, uri: Uri) -> HttpError {
    let message = format!("{} can not be called with {method}", uri.path());
    CallError::new(ErrorReason::MethodNotAllowed, message).into()
}
