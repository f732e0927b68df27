//! The runner's listener, with or without TLS, and its drain.

use super::state::App;
use super::tls::Tls;
use axum::Router;
use fovea_process::accept;
use fovea_protocol::SILENCE_LIMIT;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Open connections, beyond the slots: from an operator, its predecessor, probes.
const MAX_CONNECTIONS: usize = 256;
/// Longest wait for a request's headers, which is also how long an idle connection is kept.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout after the drain, for the last lines to reach their readers.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The socket that accepts connections.
pub struct Listener {
    pub tcp: TcpListener,
    /// The certificate; without one the listener serves plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// Serves until `stop` resolves. Then new work is refused (its requests are still answered), and
/// running requests have `drain` to finish before they are aborted.
pub async fn serve(
    listener: Listener,
    router: Router,
    app: Arc<App>,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    let stopped = async {
        stop.await;
        app.drain();
        tracing::info!(?drain, "draining");
        if tokio::time::timeout(drain, app.idle()).await.is_err() {
            tracing::warn!("some requests did not end in time; they are aborted");
            app.abort_all();
        }
    };
    let handle = |stream, _peer| {
        let acceptor = listener.tls.as_ref().map(|tls| tls.acceptor());
        connect(stream, acceptor, router.clone(), graceful.watcher())
    };
    tokio::select! {
        () = stopped => {}
        () = accept(&listener.tcp, MAX_CONNECTIONS, handle) => {}
    }
    drop(listener);
    if tokio::time::timeout(LAST_LINES, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time");
    }
}

/// Handles one connection: the TLS handshake where there is a certificate, then its requests.
async fn connect(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
) {
    set_options(&stream);
    let Some(acceptor) = acceptor else {
        return answer(stream, router, watcher).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, router, watcher).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!("the TLS handshake took too long"),
    }
}

/// Answers requests until the connection ends.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Sends lines at once, and breaks a connection whose peer acknowledges nothing for the silence
/// limit: then the work that it would read is dropped.
fn set_options(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = [
        stream.set_nodelay(true),
        socket.set_tcp_user_timeout(Some(SILENCE_LIMIT)),
    ];
    for error in set.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "cannot set a socket option");
    }
}
