//! Connections, within bounds: so many at a time, none that only keeps a socket busy, and a graceful end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits::{HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, KEEP_ALIVE_EVERY};

/// How long a client may take to say what it wants, on a new connection or on one that it keeps.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What to wait for where the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until the flag turns true, then until the last one has been answered. Dropped, it drops them all.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    concurrent_streams: u32,
    mut shutdown: watch::Receiver<bool>,
) {
    let builder = builder(concurrent_streams);
    let room = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = room.clone().acquire_owned();
        let accepted = async { (permit.await.expect("the semaphore is never closed"), listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = shutdown.wait_for(|&down| down) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (builder, service) = (builder.clone(), TowerToHyperService::new(router.clone()));
                let watcher = graceful.watcher();
                connections.spawn(async move {
                    if first_byte(&stream).await.is_ok() {
                        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                        // A client that breaks off is no event.
                        let _ = watcher.watch(connection).await;
                    }
                    drop(permit);
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "a connection can not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

fn builder(concurrent_streams: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HTTP_HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .max_concurrent_streams(concurrent_streams)
        .max_header_list_size(HTTP_HEAD_BYTES_MAX as u32);
    builder
}

/// Waits for a client to begin. The protocol is told by the first bytes, and nobody else bounds the wait for them.
async fn first_byte(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    timeout(HEAD_TIMEOUT, stream.readable()).await?
}
