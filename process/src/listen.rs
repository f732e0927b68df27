//! The accept loop of every listener, and the server of health and metrics.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Open connections to an admin server: kubelets and scrapers.
const ADMIN_CONNECTIONS: usize = 64;
/// Timeout of a request's headers at an admin server, and lifetime of an idle connection.
const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of open admin requests at shutdown.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

/// Accepts connections until it is dropped, and runs what `connect` makes of each as a task. At
/// most `max_connections` are open; more wait in the socket's backlog.
pub async fn accept<F>(
    listener: &TcpListener,
    max_connections: usize,
    mut connect: impl FnMut(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(max_connections));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = connect(stream, peer);
                tokio::spawn(async move {
                    let _permit = permit;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves health and metrics until `shutdown`, then ends within [`ADMIN_DRAIN`].
pub async fn serve_admin(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connect = |stream: TcpStream, _peer: SocketAddr| {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(ADMIN_HEADER_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        let watched = graceful.watch(connection);
        async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        }
    };
    tokio::select! {
        () = accept(&listener, ADMIN_CONNECTIONS, connect) => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    if tokio::time::timeout(ADMIN_DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("some admin requests did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::future::pending;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn an_admin_server_answers_and_ends_in_time_even_with_an_open_request() {
        let (listener, address) = listener().await;
        let router = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/never", get(pending::<&str>));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve_admin(listener, router, shutdown.clone()));

        let mut stuck = TcpStream::connect(address).await.unwrap();
        let request = b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n";
        stuck.write_all(request).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        let read = timeout(PATIENCE, client.read_to_string(&mut answer));
        read.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

        shutdown.cancel();
        timeout(PATIENCE, serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_until_one_ends() {
        let (listener, address) = listener().await;
        let (accepted, mut connections) = tokio::sync::mpsc::unbounded_channel();
        let accepting = accept(&listener, 1, |mut stream, _| {
            let accepted = accepted.clone();
            async move {
                let _ = accepted.send(());
                let _ = stream.read(&mut [0]).await;
            }
        });
        let clients = async {
            let first = TcpStream::connect(address).await.unwrap();
            let _second = TcpStream::connect(address).await.unwrap();
            timeout(PATIENCE, connections.recv()).await.unwrap();
            assert!(connections.try_recv().is_err());
            drop(first);
            timeout(PATIENCE, connections.recv()).await.unwrap();
        };
        tokio::select! {
            () = accepting => unreachable!("it accepts until it is dropped"),
            () = clients => {}
        }
    }
}
