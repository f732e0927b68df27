//! Sends one POST to one receiver: over https only, without redirects, bounded in time, and only to
//! addresses that were checked in the same look-up that the connection uses. With --callback-proxy, the
//! proxy looks public receivers up. The environment's proxies are never used: they check no address.

use super::address::{self, Allowed};
use crate::job::delivery::Outcome;
use fovea_proxy::ProxyUrl;
use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::{Host, Url};

/// Upper bound on look-up, connection and TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

const TIMEOUT: Duration = Duration::from_secs(10);

/// Upper bound on the answer that is read so that its connection can be reused. No part of it is shown:
/// it could belong to someone else.
const MAX_ANSWER_BYTES: usize = 4 * 1024;

/// Upper bound on reading the answer's body, after its status.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Idle connections kept for a receiver.
const IDLE_CONNECTIONS: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bound on concurrent look-ups. The system's resolver cannot be cancelled: a name server that does
/// not answer blocks a thread for longer than a try waits.
const MAX_LOOKUPS: usize = 256;

const AGENT: &str = concat!("fovea-operator/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    /// `webhook-timestamp`, seconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) signature: String,
    /// The payload as JSON, which the signature covers.
    pub(super) body: String,
}

/// Sends webhooks. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub(super) struct Deliverer {
    allowed: Arc<[Allowed]>,
    /// Connects only to public addresses and allowed networks.
    guarded: Client,
    /// Connects to hosts that `--callback-allow` names, whatever their address.
    open: Client,
    /// Connects through --callback-proxy, which looks names up.
    proxied: Option<Client>,
}

impl Deliverer {
    /// A deliverer with the system's resolver, which trusts the system's certificate authorities and
    /// `authorities`. Receivers that `allowed` does not name are reached through `proxy`, if there is one.
    pub(super) fn new(
        allowed: Vec<Allowed>,
        authorities: &[Certificate],
        proxy: Option<&ProxyUrl>,
    ) -> Result<Self, reqwest::Error> {
        Self::with_resolver(allowed, authorities, proxy, |name| {
            Ok((name, 0).to_socket_addrs()?.collect())
        })
    }

    fn with_resolver(
        allowed: Vec<Allowed>,
        authorities: &[Certificate],
        proxy: Option<&ProxyUrl>,
        look_up: LookUp,
    ) -> Result<Self, reqwest::Error> {
        let allowed: Arc<[Allowed]> = allowed.into();
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        let builder = || {
            Client::builder()
                .user_agent(AGENT)
                .https_only(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TIMEOUT)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .tls_certs_merge(authorities.to_vec())
        };
        let client = |guard: Option<Arc<[Allowed]>>| {
            let lookups = Arc::clone(&lookups);
            let resolver = Resolver {
                guard,
                look_up,
                lookups,
            };
            builder().dns_resolver(resolver).build()
        };
        let through = |proxy: &ProxyUrl| {
            let proxy = reqwest::Proxy::all(proxy.as_url().clone())?;
            builder().proxy(proxy).build()
        };
        Ok(Self {
            guarded: client(Some(Arc::clone(&allowed)))?,
            open: client(None)?,
            proxied: proxy.map(through).transpose()?,
            allowed,
        })
    }

    pub(super) async fn deliver(&self, url: &str, message: Message) -> Outcome {
        let url = match receiver(url) {
            Ok(url) => url,
            Err(refused) => return Outcome::failed(refused.to_string()),
        };
        let way = match way(&self.allowed, &url, self.proxied.is_some()) {
            Ok(way) => way,
            Err(refused) => return Outcome::failed(refused.to_string()),
        };
        let client = match (way, &self.proxied) {
            (Way::Open, _) => &self.open,
            (Way::Proxied, Some(proxied)) => proxied,
            (Way::Guarded | Way::Proxied, _) => &self.guarded,
        };
        let request = match headers(&message) {
            Some(headers) => client.post(url).headers(headers).body(message.body),
            None => return Outcome::failed("the signature is not a valid header"),
        };
        match request.send().await {
            Ok(answer) => read(answer).await,
            Err(error) => Outcome::failed(cause_of(&error, way)),
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
enum Refused {
    #[error("spec.callback.url is not an https URL with a host")]
    Url,
    #[error(
        "the receiver's address is {kind}: callbacks go only to public addresses, and to receivers that the operator's --callback-allow names"
    )]
    Literal { kind: &'static str },
    #[error(
        "the receiver's name resolves to {kind}: callbacks go only to public addresses, and to receivers that the operator's --callback-allow names"
    )]
    Name { kind: &'static str },
    #[error("the receiver's name has no address")]
    NoAddress,
    #[error("the receiver's name cannot be resolved: {0}")]
    LookUp(String),
}

/// Parses the URL and checks it again, although the schema has the same rule.
fn receiver(text: &str) -> Result<Url, Refused> {
    let url = Url::parse(text).map_err(|_| Refused::Url)?;
    let bare = url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || !url.has_host() || !bare {
        return Err(Refused::Url);
    }
    Ok(url)
}

/// How a receiver is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Directly, whatever its address.
    Open,
    /// Directly, if its address is public or in an allowed network.
    Guarded,
    /// Through --callback-proxy, which alone sees the address.
    Proxied,
}

/// The way to a receiver; `proxy`: whether there is a --callback-proxy. An allowed host, and an address in an
/// allowed network, are within the installation's own networks, where a proxy to the internet does not lead. Pure.
fn way(allowed: &[Allowed], url: &Url, proxy: bool) -> Result<Way, Refused> {
    if address::names(allowed, url) {
        return Ok(Way::Open);
    }
    // A literal is not looked up, so the resolver does not see it.
    let literal = literal(url);
    if let Some(kind) = literal.and_then(|ip| address::refusal_but(allowed, ip)) {
        return Err(Refused::Literal { kind });
    }
    let public = literal.is_none_or(|ip| address::refusal(ip).is_none());
    Ok(if proxy && public {
        Way::Proxied
    } else {
        Way::Guarded
    })
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn headers(message: &Message) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let named = [
        (standardwebhooks::HEADER_WEBHOOK_ID, &message.id),
        (
            standardwebhooks::HEADER_WEBHOOK_TIMESTAMP,
            &message.timestamp.to_string(),
        ),
        (
            standardwebhooks::HEADER_WEBHOOK_SIGNATURE,
            &message.signature,
        ),
    ];
    for (name, value) in named {
        headers.insert(name, HeaderValue::from_str(value).ok()?);
    }
    Some(headers)
}

/// Reads the answer: the status decides, and the body is drained and dropped.
async fn read(mut answer: reqwest::Response) -> Outcome {
    let outcome = outcome(answer.status(), answer.headers(), crate::time::now());
    let drain = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > MAX_ANSWER_BYTES {
                break;
            }
        }
    };
    // A body that is too long or too slow is dropped with its connection.
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, drain).await;
    outcome
}

fn outcome(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status == StatusCode::GONE {
        return Outcome::Gone;
    }
    let may_retry_after = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let header = headers.get(RETRY_AFTER).filter(|_| may_retry_after);
    Outcome::Failed {
        detail: if status.is_redirection() {
            format!("the receiver answered HTTP {status}: redirects are not followed")
        } else {
            format!("the receiver answered HTTP {status}")
        },
        retry_after: header.and_then(|value| wait_of(value.to_str().ok()?, now)),
    }
}

/// Retry-After: seconds, or a date.
fn wait_of(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// The innermost cause, without the URL, which may hold a key and is in the spec anyway.
fn cause_of(error: &reqwest::Error, way: Way) -> String {
    let through = match way {
        Way::Open | Way::Guarded => "",
        Way::Proxied => " through the operator's --callback-proxy",
    };
    if error.is_timeout() {
        let (what, limit) = if error.is_connect() {
            ("no connection to the receiver", CONNECT_TIMEOUT)
        } else {
            ("no answer from the receiver", TIMEOUT)
        };
        return format!("{what}{through} within {} s", limit.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<Refused>() {
        Some(refused) => refused.to_string(),
        None => format!("the connection to the receiver{through} failed: {cause}"),
    }
}

/// The addresses of a name; may wait.
type LookUp = fn(&str) -> std::io::Result<Vec<SocketAddr>>;

/// A resolver that returns only addresses that callbacks may connect to.
struct Resolver {
    /// `None` allows every address.
    guard: Option<Arc<[Allowed]>>,
    look_up: LookUp,
    lookups: Arc<Semaphore>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookups) = (self.guard.clone(), Arc::clone(&self.lookups));
        let look_up = self.look_up;
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // Held until the look-up ends, even if nothing waits for it any more.
                let _permit = permit;
                look_up(name.as_str())
            });
            let found = found.await?;
            let found = found.map_err(|error| Refused::LookUp(error.to_string()))?;
            let usable = match guard {
                None => found,
                Some(allowed) => judge(&allowed, found)?,
            };
            Ok(Box::new(usable.into_iter()) as Addrs)
        })
    }
}

/// The addresses of `found` that callbacks may connect to.
fn judge(allowed: &[Allowed], found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let refused = |address: &SocketAddr| address::refusal_but(allowed, address.ip());
    let Some(kind) = found.iter().find_map(refused) else {
        return if found.is_empty() {
            Err(Refused::NoAddress)
        } else {
            Ok(found)
        };
    };
    let usable: Vec<_> = found.into_iter().filter(|a| refused(a).is_none()).collect();
    if usable.is_empty() {
        return Err(Refused::Name { kind });
    }
    Ok(usable)
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
