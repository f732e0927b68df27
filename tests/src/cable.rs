//! A network cable between a program and a server. While it is unplugged, everything sent is lost silently,
//! and neither end sees the other close.

use anyhow::Context as _;
use socket2::{SockFilter, SockRef};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The kernel's filter program `return 0`: drops every packet, so that not even the sender gets an
/// acknowledgement.
const LOSE_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// A relay on loopback; it ends with this value.
pub struct Cable {
    /// Stands in for the server's address.
    pub address: SocketAddr,
    pulled: watch::Sender<bool>,
    _relaying: AbortOnDropHandle<()>,
}

impl Cable {
    pub async fn to(address: &str) -> anyhow::Result<Self> {
        let server: SocketAddr = address.parse().context("host:port")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (pulled, state) = watch::channel(false);
        Ok(Self {
            address: listener.local_addr()?,
            pulled,
            _relaying: AbortOnDropHandle::new(tokio::spawn(relay(listener, server, state))),
        })
    }

    /// Everything sent from now on is lost.
    pub fn pull(&self) {
        self.pulled.send_replace(true);
    }

    /// New connections work again; the old ones break.
    pub fn plug_in(&self) {
        self.pulled.send_replace(false);
    }
}

async fn relay(listener: TcpListener, server: SocketAddr, mut pulled: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connection(client, server, pulled.clone()));
            }
            Ok(()) = pulled.changed() => {
                let socket = SockRef::from(&listener);
                let changed = if *pulled.borrow_and_update() {
                    socket.attach_filter(&LOSE_ALL)
                } else {
                    socket.detach_filter()
                };
                changed.expect("a socket takes a filter");
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Both ways, until an end closes it, or the cable has been pulled and plugged in again.
async fn connection(mut client: TcpStream, server: SocketAddr, mut pulled: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let pulling = async {
        let _ = pulled.wait_for(|pulled| *pulled).await;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        () = pulling => {}
    }
    for end in [&client, &server] {
        SockRef::from(end)
            .attach_filter(&LOSE_ALL)
            .expect("a socket takes a filter");
    }
    let _ = pulled.wait_for(|pulled| !pulled).await;
}
