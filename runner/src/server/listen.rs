//! The accept loop, over TLS or not, and the drain.

use super::state::App;
use super::tls::Tls;
use axum::Router;
use fovea_protocol::SILENCE_LIMIT;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once, beyond the slots: an operator, its predecessor, probes.
const MAX_CONNECTIONS: usize = 256;
/// Longest wait for a request's headers, which is also how long an idle connection is kept.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After the drain: for the last lines to reach their readers.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where connections come in.
pub struct Listener {
    /// The bound socket.
    pub tcp: TcpListener,
    /// The certificate; without one it is plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// Serves until `stop` resolves. Then new work is refused, but still answered, while what runs
/// has `drain` to finish; what has not by then is aborted.
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
    tokio::select! {
        () = stopped => {}
        () = accept(&listener, &router, &graceful) => {}
    }
    drop(listener);
    if tokio::time::timeout(LAST_LINES, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time");
    }
}

async fn accept(listener: &Listener, router: &Router, graceful: &GracefulShutdown) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.tcp.accept().await {
            Ok((stream, _)) => {
                set_options(&stream);
                let (router, watcher) = (router.clone(), graceful.watcher());
                let acceptor = listener.tls.as_ref().map(|tls| tls.acceptor());
                tokio::spawn(async move {
                    let _permit = permit;
                    let Some(acceptor) = acceptor else {
                        return answer(stream, router, watcher).await;
                    };
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => answer(stream, router, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                        Err(_) => tracing::debug!("the TLS handshake took too long"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection.
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

/// Lines go out at once; a peer whose machine acknowledges nothing for the silence limit is gone,
/// and with the connection the reader, and with the reader the work.
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
