//! TLS before a server without it.

use crate::receiver::Authority;
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub struct TlsFront {
    pub address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl TlsFront {
    /// A front on loopback for the server at `address`, with a certificate of `authority`.
    pub async fn start(address: &str, authority: &Authority) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (own, acceptor) = (listener.local_addr()?, authority.loopback_acceptor()?);
        let address = address.to_owned();
        let serving = async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, address) = (acceptor.clone(), address.clone());
                tokio::spawn(async move {
                    // A client that disconnects affects no other.
                    if let Ok(mut client) = acceptor.accept(client).await {
                        let mut server = TcpStream::connect(address).await?;
                        copy_bidirectional(&mut client, &mut server).await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        };
        Ok(Self {
            address: own,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        })
    }
}
