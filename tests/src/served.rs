//! A stand-in for a server, on a free port; it ends with the handle.

use crate::authority::{Authority, TlsListener};
use axum::Router;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Serves on loopback; the base URL, such as `http://127.0.0.1:40123`.
pub(crate) async fn serve(routes: Router) -> std::io::Result<(String, AbortOnDropHandle<()>)> {
    serve_at(Ipv4Addr::LOCALHOST, routes).await
}

pub(crate) async fn serve_at(
    address: Ipv4Addr,
    routes: Router,
) -> std::io::Result<(String, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind((address, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    Ok((url, AbortOnDropHandle::new(serving)))
}

/// Serves by https, with a certificate of the authority.
pub(crate) async fn serve_tls_at(
    address: Ipv4Addr,
    routes: Router,
    authority: &Authority,
) -> anyhow::Result<(String, AbortOnDropHandle<()>)> {
    let listener = TlsListener {
        tcp: TcpListener::bind((address, 0)).await?,
        acceptor: authority.acceptor(&[address.to_string()])?,
    };
    let url = format!("https://{}", listener.tcp.local_addr()?);
    let serving = tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    Ok((url, AbortOnDropHandle::new(serving)))
}
