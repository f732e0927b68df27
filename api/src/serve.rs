//! The API's listener, with bounds on connections, on headers and their time, and on the drain.
//! (`axum::serve` sets no timer, so a client could hold a connection with half a header.)

use crate::config::Config;
use crate::metrics::Metrics;
use crate::pace::MinRate;
use crate::paced::Paced;
use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use axum::{Extension, Router};
use fovea_process::accept;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::Layer as _;

/// Size of a connection's read buffer in bytes: headers, and each piece of a body. hyper answers
/// larger headers with 431; the API's own, smaller bounds (`middleware`) answer with a problem.
const CONNECTION_BUFFER_BYTES: usize = 128 * 1024;
/// Maximum number of headers that hyper reads; more are answered 431.
const CONNECTION_HEADERS: usize = 256;

/// Bytes that the kernel takes for a client beyond what is on its way. More would let a client that reads
/// slowly look fast at first and silent later.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The bounds of the listener, and the metrics that count its connections.
#[derive(Clone, Debug)]
pub struct Door {
    max_connections: usize,
    header_timeout: Duration,
    drain: Duration,
    min_rate: MinRate,
    metrics: Arc<Metrics>,
}

impl Door {
    /// The bounds that the flags set.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            max_connections: config.limits.max_connections,
            header_timeout: config.timeouts.header(),
            drain: config.timeouts.drain(),
            min_rate: config.min_rate(),
            metrics,
        }
    }
}

/// Serves until `stop` resolves, then gives open requests the door's drain timeout to end.
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
        min_rate,
        metrics,
    } = door;
    let graceful = GracefulShutdown::new();
    let connect = |stream, peer| {
        prepare(&stream);
        let stream = Paced::new(stream, min_rate, Arc::clone(&metrics));
        let watched = graceful.watch(connection(stream, peer, router.clone(), header_timeout));
        let ticket = metrics.connection();
        async move {
            let _ticket = ticket;
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended");
            }
        }
    };
    tokio::select! {
        () = accept(&listener, max_connections, connect) => {}
        () = stop => {}
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

/// The routes, with the peer's address as an extension.
type Routes = TowerToHyperService<AddExtension<Router, ConnectInfo<SocketAddr>>>;

/// Sets a connection's options. One without them works as well.
fn prepare(stream: &TcpStream) {
    // A response is one small write, which Nagle's algorithm would only delay.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

fn connection(
    stream: Paced<TcpStream>,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
) -> http1::Connection<TokioIo<Paced<TcpStream>>, Routes> {
    let service = Extension(ConnectInfo(peer)).layer(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .max_headers(CONNECTION_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
