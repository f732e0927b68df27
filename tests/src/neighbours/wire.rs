//! HTTP/1.1 by hand, for clients that are slower than a library lets them be.

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Upper bound on a response's head.
const MAX_HEAD: usize = 16 * 1024;

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Small segments, as over a network: on loopback the sender's buffer would be a megabyte.
const SEGMENT_BYTES: u32 = 1400;

/// Connects with buffers so small that the sender waits for what is not read.
pub(super) async fn connect_to_read_slowly(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    SockRef::from(&socket).set_recv_buffer_size(4096)?;
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    Ok(socket.connect(address).await?)
}

/// Reads a response's head, and returns its status. The body follows.
pub(super) async fn status(reader: &mut (impl AsyncRead + Unpin)) -> Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD, "the head has no end");
        head.push(reader.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).context("no status")?;
    Ok(status.parse()?)
}
