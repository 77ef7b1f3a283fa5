//! gRPC: thin methods over [`crate::api`], with health and reflection.

mod admin;
mod counts;
mod deadline;
mod ingest;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body as TonicBody;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use self::admin::AdminApi;
use self::counts::CountsApi;
use self::ingest::IngestApi;
use crate::api::Shared;
use crate::api::errors::CallError;
use crate::api::ingest::Door;
use crate::convert::FILE_DESCRIPTOR_SET;
use crate::convert::raw::ingest_service_server::IngestServiceServer;
use crate::convert::wire::admin_service_server::AdminServiceServer;
use crate::convert::wire::counts_service_server::CountsServiceServer;
use crate::limits::KEEP_ALIVE_EVERY;
use crate::store::Trigger;

/// Every service. Health turns to `NOT_SERVING` with the flag.
pub(crate) async fn router(
    shared: Arc<Shared>,
    door: Door,
    trigger: Option<Trigger>,
    shutdown: watch::Receiver<bool>,
) -> Router {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<CountsServiceServer<CountsApi>>().await;
    let has_ingest = matches!(door, Door::Open(_));
    if has_ingest {
        health.set_serving::<IngestServiceServer<IngestApi>>().await;
    }
    let mut down = shutdown.clone();
    tokio::spawn(async move {
        // A sender that is gone means the same.
        let _ = down.wait_for(|&down| down).await;
        health.set_not_serving::<CountsServiceServer<CountsApi>>().await;
        health.set_not_serving::<IngestServiceServer<IngestApi>>().await;
    });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were encoded by our own build");
    let routes = Routes::new(health_service)
        .add_service(reflection)
        .add_service(CountsApi::server(shared))
        .add_service(AdminServiceServer::new(AdminApi { trigger }));
    // Where records come from files the service is not there at all; where they come from Kafka it says so.
    let routes = match door {
        Door::Files => routes,
        door => routes.add_service(IngestApi::server(door, shutdown)),
    };
    routes.prepare().into_axum_router()
}

/// The answer to any call while the service starts.
pub(crate) async fn starting(_: Request) -> Response {
    Status::from(CallError::starting()).into_http::<TonicBody>().map(Body::new)
}

/// Serves connections until the flag turns true, then until the last call has been answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    concurrent_streams: u32,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let down = async move {
        let _ = shutdown.wait_for(|&down| down).await;
    };
    Server::builder()
        .max_concurrent_streams(concurrent_streams)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, down)
        .await
}
