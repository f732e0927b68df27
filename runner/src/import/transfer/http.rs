//! Sends one request. Redirects are followed here, so that a token stays with its host; failures
//! are sorted into those worth a retry and the others.

use super::TransferError;
use super::error::chain;
use crate::s3_error::{S3Error, error_body, excerpt};
use crate::trust;
use fovea_proxy::{ClientError, Proxies};
use fovea_trust::{Bundle, is_untrusted};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, IF_MATCH, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Client, Response, Url, redirect};
use std::fmt;
use std::time::{Duration, SystemTime};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the hub, through the environment's proxies, that waits for bytes no longer than `silence`.
/// `authorities`: those that it trusts in addition to the system's.
pub(in crate::import) fn hub_client(
    silence: Duration,
    authorities: Option<&Bundle>,
) -> Result<Client, ClientError> {
    Proxies::client(trust::also(builder().read_timeout(silence), authorities)?)
}

/// A client of the store, through the environment's proxies, that waits for bytes no longer than `silence`.
/// `authorities`: those that it trusts instead of the system's.
pub(in crate::import) fn store_client(
    silence: Duration,
    authorities: Option<&Bundle>,
) -> Result<Client, ClientError> {
    Proxies::client(trust::only(builder().read_timeout(silence), authorities)?)
}

/// As [`store_client`], without a timeout of its own: each request has one.
pub(in crate::import) fn sending_client(
    authorities: Option<&Bundle>,
) -> Result<Client, ClientError> {
    Proxies::client(trust::only(builder(), authorities)?)
}

fn builder() -> reqwest::ClientBuilder {
    // An error means that main or another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("fovea-runner/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
}

/// A bearer token; never printed.
#[derive(Clone)]
pub(in crate::import) struct Token(HeaderValue);

impl Token {
    /// `None` where the text cannot be a header.
    pub(in crate::import) fn new(text: &str) -> Option<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A request with its bounds.
#[derive(Clone, Debug)]
pub(in crate::import) struct Request<'a> {
    pub(in crate::import) client: &'a Client,
    pub(in crate::import) method: Method,
    pub(in crate::import) url: Url,
    /// Goes to this URL's own origin only.
    pub(in crate::import) token: Option<&'a Token>,
    pub(in crate::import) redirects: usize,
}

/// Identifies the version of a file on a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    origin: url::Origin,
    etag: HeaderValue,
}

#[derive(Debug)]
pub(in crate::import) struct Answer {
    pub(in crate::import) response: Response,
}

#[derive(Debug)]
pub(super) enum Failure {
    /// Worth a retry, after the server's `Retry-After` if it sent one.
    Passing(TransferError, Option<Duration>),
    /// Not worth a retry: the error stays.
    Lasting(TransferError),
}

impl Request<'_> {
    /// Sends the request from byte `from` on; `version` is the version of the bytes before it.
    pub(super) async fn send(
        &self,
        from: u64,
        version: Option<&Version>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        for _ in 0..=self.redirects {
            let response = self.send_to(url.clone(), from, version).await?;
            if !is_redirect(&response) {
                return accept(response).await.map(|response| Answer { response });
            }
            let next = target(&response).map_err(|why| redirect_failure(&url, why))?;
            // A HEAD needs the hub's own headers about a file that is stored elsewhere; within
            // the hub it is followed.
            if self.method == Method::HEAD
                && next.origin() != url.origin()
                && response.headers().contains_key("x-linked-etag")
            {
                return Ok(Answer { response });
            }
            url = next;
        }
        let why = match self.redirects {
            0 => "where none is expected",
            _ => "too many",
        };
        Err(redirect_failure(&url, why))
    }

    async fn send_to(
        &self,
        url: Url,
        from: u64,
        version: Option<&Version>,
    ) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(Token(value)) = self.token.filter(|_| url.origin() == self.url.origin()) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if from > 0 {
            if let Ok(range) = HeaderValue::try_from(format!("bytes={from}-")) {
                headers.insert(RANGE, range);
            }
            if let Some(version) = version.filter(|version| version.origin == url.origin()) {
                headers.insert(IF_MATCH, version.etag.clone());
            }
        }
        let request = self
            .client
            .request(self.method.clone(), url.clone())
            .headers(headers);
        let sent = request.send().await;
        sent.map_err(|error| match transport(&url, error) {
            error @ TransferError::Untrusted { .. } => Failure::Lasting(error),
            error => Failure::Passing(error, None),
        })
    }
}

impl Answer {
    /// The version's validator, to request its other pieces.
    pub(super) fn version(&self) -> Option<Version> {
        let etag = self.response.headers().get(ETAG)?;
        // A weak ETag does not guarantee the same bytes.
        (!etag.as_bytes().starts_with(b"W/")).then(|| Version {
            origin: self.response.url().origin(),
            etag: etag.clone(),
        })
    }

    /// A header's value, if it is present and is text.
    pub(in crate::import) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

pub(in crate::import) fn transport(url: &Url, error: reqwest::Error) -> TransferError {
    let error = error.without_url();
    let (host, why) = (host(url), chain(&error));
    if is_untrusted(&error) {
        TransferError::Untrusted { host, why }
    } else {
        TransferError::Transport { host, why }
    }
}

/// The URL's host, with its port if it names one.
pub(in crate::import) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the server");
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_redirect(response: &Response) -> bool {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_failure(url: &Url, why: &'static str) -> Failure {
    Failure::Lasting(TransferError::Redirect {
        host: host(url),
        why,
    })
}

fn target(response: &Response) -> Result<Url, &'static str> {
    let from = response.url();
    let target = response.headers().get(LOCATION);
    let target = target
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok())
        .ok_or("to nowhere")?;
    match (from.scheme(), target.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(target),
        _ => Err("away from https"),
    }
}

/// Returns a 2xx response; maps others to errors.
async fn accept(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let headers = response.headers();
    let text = |name: &str| headers.get(name)?.to_str().ok().map(excerpt);
    let retry_after = (headers.get(RETRY_AFTER).and_then(retry_after))
        .or_else(|| rate_limit_reset(headers.get("ratelimit")?));
    let (host, code, message) = (
        host(response.url()),
        text("x-error-code"),
        text("x-error-message"),
    );
    let message = match message {
        Some(message) => Some(message),
        None => (error_body(response).await).and_then(|body| message_of(&body)),
    };
    let error = TransferError::Status {
        host,
        status,
        code,
        message,
    };
    Err(match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Failure::Passing(error, retry_after)
        }
        _ if status.is_server_error() => Failure::Passing(error, retry_after),
        _ => Failure::Lasting(error),
    })
}

/// What an error's body says. A page for people does not fit into one line.
fn message_of(body: &str) -> Option<String> {
    let of_a_store = S3Error::parse(body).map(|error| error.to_string());
    of_a_store.or_else(|| {
        let text = excerpt(body.trim());
        (!text.is_empty() && !text.starts_with('<')).then_some(text)
    })
}

/// Parses `Retry-After`: seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Seconds until the hub's rate limit resets, from `"api";r=0;t=42`.
fn rate_limit_reset(value: &HeaderValue) -> Option<Duration> {
    let mut parts = value.to_str().ok()?.split(';');
    let seconds = parts.find_map(|part| part.trim().strip_prefix("t="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_a_date() {
        let after = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("soon"), None);
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let reset = |text: &str| rate_limit_reset(&HeaderValue::from_str(text).unwrap());
        assert_eq!(reset("\"api\";r=0;t=42"), Some(Duration::from_secs(42)));
        assert_eq!(reset("\"api\";r=0"), None);
        let later = SystemTime::now() + Duration::from_mins(2);
        let wait = after(&httpdate::fmt_http_date(later)).unwrap();
        assert!((110..=120).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = Token::new("hf_secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert!(Token::new("a\nb").is_none());
    }
}
