//! Downloads the picture, and checks that it is the one the job names.

use crate::s3_error::S3Error;
use crate::trust::{NAME_THE_STORES, StoreClient};
use base64::Engine as _;
use bytes::Bytes;
use fovea_protocol::{Input, Problem, Reason, Source};
use fovea_proxy::ClientError;
use fovea_trust::{Authorities, is_untrusted};
use http::header::{IF_MATCH, RANGE};
use http::{HeaderValue, StatusCode};
use reqwest::{Client, Response, redirect};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// AWS names the bucket's region in this header where a request was sent to another one.
const REGION: &str = "x-amz-bucket-region";

/// Longest time to connect to the store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub max_bytes: u64,
    /// Longest wait for the next bytes from the store.
    pub silence: Duration,
}

/// Why a picture could not be downloaded or does not match.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the store has no such object; was it deleted, or is the key wrong?")]
    NotFound,
    #[error("the store answered {0}{1}")]
    Status(StatusCode, Said),
    #[error("the store answered {0}, a redirect, which the runner does not follow")]
    Redirect(StatusCode),
    #[error("the store could not be read: {0}")]
    Transport(String),
    #[error("the store's certificate is not trusted: {0}; {NAME_THE_STORES}")]
    Untrusted(String),
    #[error("the picture is larger than the {0} bytes allowed; scale it down")]
    TooLarge(u64),
    #[error("the picture has the sha256 {found}, but the job names {named}; upload it again")]
    Digest { named: String, found: String },
    #[error("input.data is not base64: {0}")]
    Base64(base64::DecodeError),
    #[error("input.url must be an http or https URL")]
    Url,
    /// More than there is memory reserved for.
    #[error("the picture has {0} bytes, more than expected")]
    Unreserved(u64),
}

/// What the store says in an answer that is an error, if that is S3's.
#[derive(Debug)]
pub(super) struct Said(Option<S3Error>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("; is the presigned URL still valid?"),
            Some(error) => write!(f, ", {}", error.with_advice()),
        }
    }
}

impl FetchError {
    /// The error of a response that is not what was asked for.
    pub(super) async fn of(response: Response) -> Self {
        let status = response.status();
        if status.is_redirection() && !response.headers().contains_key(REGION) {
            return Self::Redirect(status);
        }
        let said = S3Error::read(response).await;
        let bucket_is_missing = (said.as_ref()).is_some_and(|said| said.code() == "NoSuchBucket");
        if status == StatusCode::NOT_FOUND && !bucket_is_missing {
            return Self::NotFound;
        }
        Self::Status(status, Said(said))
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let reason = match &error {
            FetchError::NotFound => Reason::PictureNotFound,
            FetchError::Status(..)
            | FetchError::Redirect(_)
            | FetchError::Transport(_)
            | FetchError::Untrusted(_)
            | FetchError::Unreserved(_) => Reason::FetchFailed,
            FetchError::TooLarge(_) => Reason::PictureTooLarge,
            FetchError::Digest { .. } => Reason::DigestMismatch,
            FetchError::Base64(_) | FetchError::Url => Reason::MalformedRequest,
        };
        Problem::new(reason, error.to_string())
    }
}

/// A client for presigned GETs: no redirects, no credentials, and the environment's proxies.
pub(super) struct Fetcher {
    client: StoreClient,
    pub(super) max_bytes: u64,
}

impl Fetcher {
    pub(super) fn new(
        limits: FetchLimits,
        authorities: Option<Arc<Authorities>>,
    ) -> Result<Self, ClientError> {
        // An error means that main or another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = StoreClient::new(authorities, move || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(limits.silence)
        })?;
        Ok(Self {
            client,
            max_bytes: limits.max_bytes,
        })
    }

    /// Downloads or decodes the picture, and checks its digest against `input`.
    pub(super) async fn fetch(&self, input: &Input) -> Result<Bytes, FetchError> {
        let bytes = match &input.source {
            Source::Data(data) => base64::engine::general_purpose::STANDARD
                .decode(data)
                .map(Bytes::from)
                .map_err(FetchError::Base64)?,
            Source::Url(url) => self.get(url, self.max_bytes).await?,
        };
        check(input, &bytes)?;
        Ok(bytes)
    }

    /// Downloads a picture within the limit; at most `reserved_bytes` of it.
    pub(super) async fn get(&self, url: &str, reserved_bytes: u64) -> Result<Bytes, FetchError> {
        let mut response = self.open(url, None).await?;
        let within = |length: u64| match length {
            _ if length > self.max_bytes => Err(FetchError::TooLarge(self.max_bytes)),
            _ if length > reserved_bytes => Err(FetchError::Unreserved(length)),
            _ => Ok(()),
        };
        let announced = response.content_length();
        announced.map_or(Ok(()), within)?;
        let Some(first) = response.chunk().await.map_err(transport)? else {
            return Ok(Bytes::new());
        };
        if announced == Some(first.len() as u64) {
            return Ok(first);
        }
        let mut picture = Vec::with_capacity(to_usize(announced.unwrap_or(0)));
        let mut next = Some(first);
        while let Some(chunk) = next {
            let length = (picture.len() + chunk.len()) as u64;
            // Of an unknown length, all that is allowed may follow.
            within(length).map_err(|error| match error {
                FetchError::Unreserved(_) => FetchError::Unreserved(self.max_bytes),
                error => error,
            })?;
            picture.extend_from_slice(&chunk);
            next = response.chunk().await.map_err(transport)?;
        }
        Ok(picture.into())
    }

    /// Sends a GET, from the byte on that `range` names; the response if it is what was asked for.
    pub(super) async fn open(
        &self,
        url: &str,
        range: Option<Range<'_>>,
    ) -> Result<Response, FetchError> {
        let mut request = self.client.get().get(parse_url(url)?);
        let mut wanted = StatusCode::OK;
        if let Some(Range { from, version }) = range {
            wanted = StatusCode::PARTIAL_CONTENT;
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(version) = version {
                request = request.header(IF_MATCH, version);
            }
        }
        let response = request.send().await.map_err(transport)?;
        if response.status() == wanted {
            return Ok(response);
        }
        Err(FetchError::of(response).await)
    }
}

/// The part of an object that a GET asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    /// Its first byte.
    pub(super) from: u64,
    /// `ETag` of the object that the bytes before it are of.
    pub(super) version: Option<&'a HeaderValue>,
}

/// The URL holds a signature: no error may carry it.
pub(super) fn transport(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    if is_untrusted(&error) {
        FetchError::Untrusted(chain(&error))
    } else {
        FetchError::Transport(chain(&error))
    }
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Parses a URL, and refuses one that the runner would not fetch; called before queueing.
pub(super) fn parse_url(url: &str) -> Result<reqwest::Url, FetchError> {
    reqwest::Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(FetchError::Url)
}

fn check(input: &Input, bytes: &[u8]) -> Result<(), FetchError> {
    if let Some(named) = &input.sha256 {
        let found = hex::encode(Sha256::digest(bytes));
        if *named != found {
            let named = named.chars().take(found.len()).collect();
            return Err(FetchError::Digest { named, found });
        }
    }
    Ok(())
}

/// Formats an error and its causes as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
