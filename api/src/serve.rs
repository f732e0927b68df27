//! The API's listener, with bounds on connections, on headers and their time, and on the drain.
//! (`axum::serve` sets no timer, so a client could hold a connection with half a header.)

use crate::budget::Budget;
use crate::meter::{Meter, Metered};
use crate::metrics::Metrics;
use crate::pace::MinRate;
use crate::paced::Paced;
use crate::state::App;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{AddExtension, Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use fovea_process::accept;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::Layer as _;

/// Size of a connection's buffers in bytes: headers, and each piece of a body. hyper answers
/// larger headers with 431; the API's own, smaller bounds (`middleware`) answer with a problem.
const CONNECTION_BUFFER_BYTES: usize = 48 * 1024;
/// Maximum number of headers that hyper reads; more are answered 431.
const CONNECTION_HEADERS: usize = 256;

/// Bytes that the kernel takes for a client beyond what is on its way. More would let a client that reads
/// slowly look fast at first and silent later.
const UNSENT_BYTES: u32 = 128 * 1024;

/// The bounds of the listener, the budget that its connections share with requests, and the metrics that count
/// them.
#[derive(Clone, Debug)]
pub struct Door {
    budget: Budget,
    max_connections: usize,
    header_timeout: Duration,
    drain: Duration,
    min_rate: MinRate,
    metrics: Arc<Metrics>,
}

impl Door {
    /// The bounds that the flags set.
    pub fn new(app: &App) -> Self {
        let App {
            config,
            budget,
            metrics,
            ..
        } = app;
        Self {
            budget: budget.clone(),
            max_connections: config.limits.max_connections,
            header_timeout: config.timeouts.header(),
            drain: config.timeouts.drain(),
            min_rate: config.min_rate(),
            metrics: Arc::clone(metrics),
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
        budget,
        max_connections,
        header_timeout,
        drain,
        min_rate,
        metrics,
    } = door;
    let graceful = GracefulShutdown::new();
    let crowd = Crowd::new(max_connections);
    let router = router.layer(from_fn_with_state(crowd.clone(), framed));
    let connect = |stream, peer| {
        prepare(&stream);
        let stream = Metered {
            stream: Paced::new(stream, min_rate, Arc::clone(&metrics)),
            meter: Meter::new(budget.clone(), CONNECTION_BUFFER_BYTES),
        };
        let watched = graceful.watch(connection(stream, peer, router.clone(), header_timeout));
        let tickets = (metrics.connection(), crowd.enter());
        async move {
            let _tickets = tickets;
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

/// The number of open connections.
#[derive(Clone, Debug)]
struct Crowd {
    open: Arc<AtomicUsize>,
    /// The number from which on a connection is closed after its answer, so that it does not stay open idle
    /// while others wait: seven eighths of all.
    crowded: usize,
}

struct Entered(Arc<AtomicUsize>);

impl Crowd {
    fn new(max_connections: usize) -> Self {
        Self {
            open: Arc::default(),
            crowded: max_connections - max_connections / 8,
        }
    }

    fn enter(&self) -> Entered {
        self.open.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(&self.open))
    }

    fn is_crowded(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.crowded
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the connection's meter which bytes are of a head, and closes the connection if others wait.
async fn framed(
    State(crowd): State<Crowd>,
    Extension(meter): Extension<Meter>,
    request: Request,
    next: Next,
) -> Response {
    meter.begin();
    let mut response = next.run(request).await;
    meter.end();
    if crowd.is_crowded() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// The routes, with the peer's address and the connection's meter as extensions.
type Routes =
    TowerToHyperService<AddExtension<AddExtension<Router, Meter>, ConnectInfo<SocketAddr>>>;

/// Sets a connection's options. One without them works as well.
fn prepare(stream: &TcpStream) {
    // A response is one small write, which Nagle's algorithm would only delay.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
}

fn connection(
    stream: Metered<Paced<TcpStream>>,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
) -> http1::Connection<TokioIo<Metered<Paced<TcpStream>>>, Routes> {
    let service = Extension(stream.meter.clone()).layer(router);
    let service = Extension(ConnectInfo(peer)).layer(service);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .max_headers(CONNECTION_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
