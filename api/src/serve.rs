//! The accept loop: bounded connections, a bound on slow and on large headers, a bounded drain at
//! the end. (`axum::serve` sets no timer, so that a client could hold a connection with half a
//! header.)

use crate::config::Config;
use crate::metrics::Metrics;
use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Layer as _;

/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Memory that a connection may take for what it has sent and nobody has read: headers, and each
/// piece of a body. Headers beyond it are answered 431 by hyper; the service's own, smaller bounds
/// (`middleware`) are told in a problem.
const CONNECTION_BUFFER_BYTES: usize = 128 * 1024;
/// Likewise for the number of headers.
const CONNECTION_HEADERS: usize = 256;

/// The bounds of a listener, and who counts its connections.
#[derive(Clone, Debug)]
pub struct Door {
    max_connections: usize,
    header_timeout: Duration,
    drain: Duration,
    metrics: Arc<Metrics>,
}

impl Door {
    /// As configured.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            max_connections: config.limits.max_connections,
            header_timeout: config.timeouts.header(),
            drain: config.timeouts.drain(),
            metrics,
        }
    }
}

/// Serves until `stop` resolves, then lets open requests end for as long as the door says.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    door: Door,
    stop: impl Future<Output = ()>,
) {
    let Door {
        max_connections,
        header_timeout,
        drain,
        metrics,
    } = door;
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(max_connections));
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), header_timeout);
                let watched = graceful.watch(connection);
                let ticket = metrics.connection();
                tokio::spawn(async move {
                    let (_permit, _ticket) = (permit, ticket);
                    if let Err(error) = watched.await {
                        tracing::debug!(%error, "connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "draining");
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end within the drain timeout");
    }
}

/// The routes, which are told who is at the other end.
type Routes = TowerToHyperService<AddExtension<Router, ConnectInfo<SocketAddr>>>;

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
) -> http1::Connection<TokioIo<TcpStream>, Routes> {
    // An answer is one small write: waiting for more to send with it only delays it.
    let _ = stream.set_nodelay(true);
    let told = Extension(ConnectInfo(peer)).layer(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .max_headers(CONNECTION_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(told))
}
