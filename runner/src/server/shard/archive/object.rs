//! The bytes of an archive, as a stream that goes on by itself where the store breaks it off.

use super::super::super::fetch::{FetchError, Range, transport};
use super::super::Shard;
use super::super::ask::Offer;
use super::super::item::Unfinished;
use super::tar::Bytes as Source;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use fovea_protocol::{Problem, RowError};
use http::header::ETAG;
use http::{HeaderValue, StatusCode};
use reqwest::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// First and longest wait before the stream goes on.
const WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// More bytes than this are skipped by a new GET.
const MAX_READ_OVER: u64 = 8 << 20;

/// Why an archive's bytes end before the archive does.
#[derive(Debug)]
pub(super) enum Lost {
    /// The archive fails.
    Failed(RowError),
    Unfinished(Unfinished),
}

impl From<Problem> for Lost {
    fn from(problem: Problem) -> Self {
        Self::Unfinished(Unfinished::Ended(problem))
    }
}

/// An archive's object.
pub(super) struct Object {
    shard: Arc<Shard>,
    offer: Offer,
    /// The answer to the current GET; absent before the first, and after a break.
    response: Option<Response>,
    /// Position in the object, in bytes.
    at: u64,
    /// Where it was when bytes last arrived.
    arrived_at: u64,
    /// `ETag` of the object that is being read.
    version: Option<HeaderValue>,
    waits: ExponentialBackoff,
    /// When the store has failed too long.
    give_up: Option<Instant>,
}

impl Object {
    pub(super) fn new(shard: Arc<Shard>, offer: Offer) -> Self {
        Self {
            shard,
            offer,
            response: None,
            at: 0,
            arrived_at: 0,
            version: None,
            waits: waits(),
            give_up: None,
        }
    }

    /// Sends a GET from the current position on; `None` if there is nothing.
    async fn open(&mut self) -> Result<Option<Response>, Failure> {
        if self.offer.url().is_none() {
            self.offer = self.shard.ask.again(0).await?;
        }
        let url = self.offer.item.url.as_deref().unwrap_or_default();
        let version = self.version.as_ref();
        let from = self.at;
        let range = (from > 0).then_some(Range { from, version });
        match self.shard.app.fetcher.open(url, range).await {
            Ok(response) => {
                if self.version.is_none() {
                    self.version = response.headers().get(ETAG).cloned();
                }
                Ok(Some(response))
            }
            Err(FetchError::Status(StatusCode::RANGE_NOT_SATISFIABLE, _)) => Ok(None),
            Err(FetchError::Status(StatusCode::PRECONDITION_FAILED, _)) => {
                let message = "the archive was replaced while it was read; run the batch again";
                Err(failed("ArchiveChanged", message.to_owned()))
            }
            Err(error @ (FetchError::NotFound | FetchError::Url)) => {
                let Problem { reason, detail, .. } = error.into();
                Err(failed(reason.name(), detail))
            }
            Err(error) => Err(Failure::Passing(error)),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.response.is_none() {
            let Some(response) = self.open().await? else {
                return Ok(None);
            };
            self.response = Some(response);
        }
        let Some(response) = &mut self.response else {
            return Ok(None);
        };
        let chunk = response.chunk().await;
        chunk.map_err(|error| Failure::Passing(transport(error)))
    }

    /// Waits before the next try; an error once the store has failed too long.
    async fn wait(&mut self, error: FetchError) -> Result<(), Lost> {
        let now = Instant::now();
        let give_up = *(self.give_up).get_or_insert(now + self.shard.app.shards.patience);
        let wait = self.waits.next().unwrap_or(WAITS[1]);
        tracing::debug!(at = self.at, %error, ?wait, "an archive breaks off");
        if now + wait > give_up {
            self.shard.stop.stop(Some(error.into()));
            return Err(Lost::Unfinished(Unfinished::Stopped));
        }
        tokio::time::sleep(wait).await;
        self.offer = self.shard.ask.again(0).await?;
        Ok(())
    }
}

fn waits() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(WAITS[0])
        .with_max_delay(WAITS[1])
        .with_jitter()
        .without_max_times()
        .build()
}

/// Why a GET did not go on.
enum Failure {
    Passing(FetchError),
    Lost(Lost),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Lost(problem.into())
    }
}

fn failed(reason: &str, message: String) -> Failure {
    let reason = reason.to_owned();
    Failure::Lost(Lost::Failed(RowError { reason, message }))
}

impl Source for Object {
    type Error = Lost;

    async fn chunk(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            match self.next().await {
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    if self.arrived_at < self.at {
                        self.arrived_at = self.at;
                        self.give_up = None;
                        self.waits = waits();
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(Failure::Lost(lost)) => return Err(lost),
                Err(Failure::Passing(error)) => {
                    self.response = None;
                    self.wait(error).await?;
                }
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> bool {
        let skips = bytes > MAX_READ_OVER;
        if skips {
            self.response = None;
            self.at = self.at.saturating_add(bytes);
        }
        skips
    }
}
