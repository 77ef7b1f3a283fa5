//! What stands at a listener from the beginning. Recovery may take long, and whoever asks meanwhile is told so, and need not wait.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::ServiceExt as _;

/// The routes, from when there are any.
#[derive(Clone, Default)]
pub(super) struct Entrance {
    routes: Arc<OnceLock<Router>>,
}

impl Entrance {
    /// Answers by these routes from now on, also on connections that are open.
    ///
    /// # Panics
    /// Where there are routes already.
    pub(super) fn open(&self, routes: Router) {
        assert!(self.routes.set(routes).is_ok(), "a service starts once");
    }

    /// What listens from the beginning; `starting` answers until there are routes.
    pub(super) fn router<F>(&self, starting: fn(Request) -> F) -> Router
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let routes = Arc::clone(&self.routes);
        Router::new().fallback(move |request: Request| {
            let routes = routes.get().cloned();
            async move {
                match routes {
                    Some(routes) => routes.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {}),
                    None => starting(request).await,
                }
            }
        })
    }
}
