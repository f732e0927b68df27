//! An HTTP proxy, as `HTTPS_PROXY` names it. It asks for a password, records what goes through it, and knows
//! hosts that no name server does: what reaches them has gone through it.

use crate::receiver::Authority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite,
    AsyncWriteExt as _, BufReader, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

const USER: &str = "fovea";
/// It must appear in no log.
pub const PASSWORD: &str = "open-sesame";
const MAX_HEAD_BYTES: u64 = 64 * 1024;

/// A request, or a tunnel (`CONNECT`), that went through the proxy or was refused by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub method: String,
    /// `host:port`.
    pub authority: String,
    /// Path and query; empty for a tunnel.
    pub path: String,
}

pub struct ForwardProxy {
    /// With user name and password.
    pub url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Addresses of hosts, both as `host:port`.
    hosts: BTreeMap<String, String>,
    passed: Mutex<Vec<Passed>>,
}

impl ForwardProxy {
    /// A proxy on loopback that knows these hosts: `(name:port, address:port)`.
    pub async fn start(hosts: &[(&str, &str)]) -> Result<Self> {
        Self::serve(hosts, None).await
    }

    /// As [`ForwardProxy::start`], over https, with a certificate of `authority`.
    pub async fn start_https(hosts: &[(&str, &str)], authority: &Authority) -> Result<Self> {
        let acceptor = authority.loopback_acceptor().map_err(Error::other)?;
        Self::serve(hosts, Some(acceptor)).await
    }

    async fn serve(hosts: &[(&str, &str)], tls: Option<TlsAcceptor>) -> Result<Self> {
        let hosts = hosts.iter();
        let hosts = hosts.map(|(name, address)| ((*name).to_owned(), (*address).to_owned()));
        let shared = Arc::new(Shared {
            hosts: hosts.collect(),
            passed: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let accepting = accept(listener, tls, Arc::clone(&shared));
        Ok(Self {
            url: format!("{scheme}://{USER}:{PASSWORD}@localhost:{port}"),
            shared,
            _serving: AbortOnDropHandle::new(tokio::spawn(accepting)),
        })
    }

    /// What has come so far, in its order.
    pub fn passed(&self) -> Vec<Passed> {
        self.shared.passed().clone()
    }
}

impl Shared {
    fn passed(&self) -> MutexGuard<'_, Vec<Passed>> {
        self.passed.lock().expect("not poisoned")
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // A connection that breaks affects no other.
            let _ = match tls {
                None => forward(stream, &shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => forward(stream, &shared).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

/// Forwards one request, or what a tunnel carries.
async fn forward(client: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Result<()> {
    let mut client = BufReader::new(client);
    let head = head(&mut client).await?;
    let malformed = || Error::from(ErrorKind::InvalidData);
    let (line, headers) = head.split_once("\r\n").ok_or_else(malformed)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(malformed());
    };
    let passed = passed(method, target).ok_or_else(malformed)?;
    let password = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let expected = format!("proxy-authorization: Basic {password}");
    let authorized = headers
        .lines()
        .any(|line| line.eq_ignore_ascii_case(&expected));
    let server = shared.hosts.get(&passed.authority);
    shared.passed().push(passed.clone());
    if !authorized {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    }
    let Some(server) = server else {
        let answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    };
    let mut server = TcpStream::connect(server).await?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        // One request for each connection, so that all are seen.
        let kept = headers.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            let name = name.to_ascii_lowercase();
            !name.is_empty() && name != "connection" && !name.starts_with("proxy-")
        });
        let kept = kept.collect::<Vec<_>>().join("\r\n");
        let path = &passed.path;
        let head = format!("{method} {path} HTTP/1.1\r\n{kept}\r\nconnection: close\r\n\r\n");
        server.write_all(head.as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A request's head, with the empty line at its end.
async fn head(client: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let mut head = String::new();
    let mut bounded = client.take(MAX_HEAD_BYTES);
    while !head.ends_with("\r\n\r\n") {
        if bounded.read_line(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// The request of a method and its target: `host:port`, or a whole http URL.
fn passed(method: &str, target: &str) -> Option<Passed> {
    let (authority, path) = if method == "CONNECT" {
        (target, String::new())
    } else {
        let rest = target.strip_prefix("http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        (authority, format!("/{path}"))
    };
    let has_port = authority.contains(':');
    Some(Passed {
        method: method.to_owned(),
        authority: if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        },
        path,
    })
}
