//! What HTTP answers while the service starts: that it lives, and that it can not be asked yet. Recovery may take long, and whoever
//! watches over the process would otherwise take it for dead.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use tower::ServiceExt as _;

use super::error::HttpError;
use super::probes::livez;
use crate::api::errors::{CallError, ErrorReason};

/// The routes, from when there are any.
#[derive(Clone, Default)]
pub(crate) struct Entrance {
    routes: Arc<OnceLock<Router>>,
}

impl Entrance {
    /// Answers by these routes from now on, also on connections that are open.
    ///
    /// # Panics
    /// Where there are routes already.
    pub(crate) fn open(&self, routes: Router) {
        assert!(self.routes.set(routes).is_ok(), "a service starts once");
    }

    /// What listens from the beginning.
    pub(crate) fn router(&self) -> Router {
        let routes = Arc::clone(&self.routes);
        Router::new().fallback(move |request: Request| answer(routes.get().cloned(), request))
    }
}

async fn answer(routes: Option<Router>, request: Request) -> Response {
    match routes {
        Some(routes) => routes.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {}),
        None if request.uri().path() == "/livez" => livez().await.into_response(),
        None => {
            let message = "the service starts, and makes its state readable again; repeat the call at another moment";
            HttpError::from(CallError::new(ErrorReason::Starting, message)).into_response()
        }
    }
}
