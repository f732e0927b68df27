//! Reads a request's body within bounds: its bytes, the bytes of all concurrent bodies, time.
//!
//! Memory is charged as bytes arrive, to the share of uploads and to the budget of all requests, so that a
//! slow client holds no more than it has sent. A body without Content-Length may take twice its charge while its
//! buffer grows.

use crate::budget::{Budget, Reservation};
use crate::config::Config;
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::pace::{MinRate, Pace};
use crate::shares::{Parties, Permit, Refused, Shares};
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes discarded after an early refusal, so that a client that sends its whole body before it reads
/// gets the response, not a reset connection.
const DRAIN_BYTES: usize = 32 * 1024 * 1024;
/// Archives and manifests that are uploaded at a time. Each may have a file of its size on the disk.
const MAX_ARCHIVES: usize = 4;
/// Memory of an archive or a manifest beside one picture, in bytes: a part of the object that is written, and the
/// pieces between the threads. What its entries cost is reserved while they are read.
const ARCHIVE_BYTES: usize = 20 * 1024 * 1024;
/// Time after which discarding the rest of a body ends.
const DRAIN_TIME: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the upload is larger than {limit} bytes: send a smaller one")]
    TooLarge { limit: usize },
    #[error("the service holds as many uploads as it has memory for: try again in a moment")]
    Overloaded,
    #[error(
        "your user or namespace has as many bytes of uploads under way as it may have beside others: let some end, and try again"
    )]
    ShareUsed,
    #[error("no byte of the body arrived for {} s, or the whole did not arrive within {} s, or fewer than {} bytes per second arrived for {} s", idle.as_secs_f32(), whole.as_secs_f32(), least.bytes_per_second, least.window.as_secs_f32())]
    TooSlow {
        idle: Duration,
        whole: Duration,
        least: MinRate,
    },
    #[error("the connection broke before the body was whole: {0}")]
    Broken(String),
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = error.to_string();
        match error {
            UploadError::TooLarge { .. } => Self::new(ProblemType::TooLarge, detail),
            UploadError::Overloaded => Self::new(ProblemType::Overloaded, detail).retry_after(1),
            UploadError::ShareUsed => Self::new(ProblemType::TooManyAtOnce, detail).retry_after(1),
            UploadError::TooSlow { .. } => Self::new(ProblemType::BodyTimeout, detail),
            UploadError::Broken(_) => Self::new(ProblemType::MalformedRequest, detail),
        }
    }
}

impl From<Refused> for UploadError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Overloaded,
            Refused::Share => Self::ShareUsed,
        }
    }
}

/// What the bytes of bodies are charged to.
#[derive(Clone)]
struct Memory {
    /// The bytes of all uploads, in shares.
    pool: Shares,
    /// The bytes of all requests.
    budget: Budget,
}

/// The bounds that all uploads share.
#[derive(Clone)]
pub(crate) struct Intake {
    memory: Memory,
    pub(crate) max_upload_bytes: usize,
    pub(crate) max_archive_bytes: usize,
    archives: Shares,
    least: MinRate,
    idle: Duration,
    whole: Duration,
    /// Longest time of the upload of a batch, and of a retry.
    pub(crate) archive_whole: Duration,
    metrics: Arc<Metrics>,
}

impl Intake {
    pub(crate) fn new(config: &Config, budget: Budget, metrics: Arc<Metrics>) -> Self {
        let (limits, timeouts) = (&config.limits, &config.timeouts);
        let pool = Shares::new("uploads", limits.upload_memory_bytes, &metrics);
        Self {
            memory: Memory { pool, budget },
            max_upload_bytes: limits.max_upload_bytes,
            max_archive_bytes: limits.max_archive_bytes,
            archives: Shares::new("archives", MAX_ARCHIVES, &metrics),
            least: config.min_rate(),
            idle: Duration::from_millis(timeouts.body_idle_timeout_ms),
            whole: Duration::from_millis(timeouts.body_timeout_ms),
            archive_whole: Duration::from_millis(timeouts.archive_timeout_ms),
            metrics,
        }
    }

    /// Opens a request's body, of which at most `limit` bytes are read. Call [`Upload::charge_to`] before
    /// it is read.
    pub(crate) fn open(&self, headers: &HeaderMap, body: Body, limit: usize) -> Upload {
        let memory = Some(self.memory.clone());
        self.open_with(headers, body, limit, memory, self.whole)
    }

    /// Opens a body that is passed on as it arrives: its bytes are not charged.
    pub(crate) fn open_archive(&self, headers: &HeaderMap, body: Body, limit: usize) -> Upload {
        self.open_with(headers, body, limit, None, self.archive_whole)
    }

    /// Admits an archive or a manifest.
    pub(crate) async fn admit_archive(
        &self,
        parties: Parties,
    ) -> Result<(Permit, Reservation), Problem> {
        let admitted = self.archives.try_acquire(parties, 1);
        let what = "uploads of archives and manifests";
        let admitted =
            admitted.map_err(|refused| refused.problem(ProblemType::Overloaded, what, 10))?;
        // A picture's buffer grows by doubling.
        let bytes = ARCHIVE_BYTES.saturating_add(self.max_upload_bytes.saturating_mul(2));
        Ok((admitted, self.memory.budget.reserve(bytes).await?))
    }

    fn open_with(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        memory: Option<Memory>,
        whole: Duration,
    ) -> Upload {
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Upload {
            shared: Arc::new(Shared {
                body: tokio::sync::Mutex::new(body.into_data_stream()),
                charge: Mutex::new(Charge {
                    bytes: 0,
                    parties: Parties::NONE,
                    held: None,
                    fault: None,
                }),
                memory,
                metrics: Arc::clone(&self.metrics),
            }),
            limit,
            announced,
            waits_for_continue: headers.contains_key(EXPECT),
            idle: self.idle,
            least: self.least,
            whole,
        }
    }
}

/// One body. Dropping it releases its memory.
pub(crate) struct Upload {
    shared: Arc<Shared>,
    limit: usize,
    announced: Option<usize>,
    waits_for_continue: bool,
    idle: Duration,
    least: MinRate,
    whole: Duration,
}

struct Shared {
    body: tokio::sync::Mutex<BodyDataStream>,
    charge: Mutex<Charge>,
    /// What bytes are charged to; `None` if they are passed on as they arrive.
    memory: Option<Memory>,
    metrics: Arc<Metrics>,
}

/// The state of an [`Upload::stream`].
struct Reader {
    shared: Arc<Shared>,
    limit: usize,
    idle: Duration,
    pace: Pace,
    deadline: Instant,
    /// The answer to a client that is too slow.
    slow: UploadError,
    refused: Option<UploadError>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, UploadError>> {
        if let Some(error) = self.refused.take() {
            return Some(Err(error));
        }
        let mut body = self.shared.body.lock().await;
        let last = self.deadline.min(Instant::now() + self.idle);
        loop {
            let began = Instant::now();
            let wait = last.min(began + self.pace.rest());
            let piece = match tokio::time::timeout_at(wait, body.next()).await {
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some(Err(UploadError::Broken(error.to_string()))),
                Ok(Some(Ok(piece))) => Some(piece),
                Err(_) => None,
            };
            let bytes = piece.as_ref().map_or(0, Bytes::len);
            let is_slow = self.pace.moved(bytes, began.elapsed()).is_err();
            if is_slow || (piece.is_none() && Instant::now() >= last) {
                self.shared.metrics.too_slow("request");
                return Some(Err(self.slow.clone()));
            }
            if let Some(piece) = piece {
                return Some(self.shared.take(piece.len(), self.limit).map(|()| piece));
            }
        }
    }
}

struct Charge {
    bytes: usize,
    parties: Parties,
    held: Option<(Permit, Reservation)>,
    fault: Option<UploadError>,
}

impl Upload {
    /// Names the parties whose share of memory the body draws on.
    pub(crate) fn charge_to(&self, parties: Parties) {
        self.shared.charge().parties = parties;
    }

    /// The body in pieces, bounded. The first error is its last item and is kept as
    /// [`Self::fault`], for readers in between that change errors.
    pub(crate) fn stream(&self) -> impl Stream<Item = Result<Bytes, UploadError>> + Send + use<> {
        let reader = Reader {
            shared: Arc::clone(&self.shared),
            limit: self.limit,
            idle: self.idle,
            pace: Pace::new(self.least),
            deadline: Instant::now() + self.whole,
            slow: UploadError::TooSlow {
                idle: self.idle,
                whole: self.whole,
                least: self.least,
            },
            refused: self.refuse_early(),
        };
        futures::stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            let piece = reader.next().await?;
            if let Err(error) = &piece {
                reader.shared.charge().fault = Some(error.clone());
            }
            let reader = piece.is_ok().then_some(reader);
            Some((piece, reader))
        })
    }

    /// The whole body in one piece.
    pub(crate) async fn collect(&self) -> Result<Bytes, UploadError> {
        let mut pieces = std::pin::pin!(self.stream());
        // Untouched pages cost nothing, so the announced length may be reserved.
        let mut whole = BytesMut::with_capacity(self.announced.unwrap_or(0).min(self.limit));
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.freeze())
    }

    /// Charges memory for something derived from the body, such as its decoded form.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), UploadError> {
        self.shared.reserve(bytes)
    }

    /// What ended the reading early, if anything did.
    pub(crate) fn fault(&self) -> Option<UploadError> {
        self.shared.charge().fault.clone()
    }

    /// After a refusal: reads and discards the rest, within bounds; not if the client still waits for
    /// `100 Continue`, was too slow or has disconnected.
    pub(crate) async fn discard_rest(&self) {
        {
            let mut charge = self.shared.charge();
            charge.held = None;
            let slow = matches!(
                charge.fault,
                Some(UploadError::TooSlow { .. } | UploadError::Broken(_))
            );
            if slow || (self.waits_for_continue && charge.bytes == 0) {
                return;
            }
        }
        let drained = async {
            let mut body = self.shared.body.lock().await;
            let mut seen = 0;
            while let Some(Ok(bytes)) = body.next().await {
                seen += bytes.len();
                if seen > DRAIN_BYTES {
                    break;
                }
            }
        };
        // The response follows, whether or not the rest was read.
        let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
    }

    fn refuse_early(&self) -> Option<UploadError> {
        let announced = self.announced?;
        if announced > self.limit {
            return Some(UploadError::TooLarge { limit: self.limit });
        }
        let Memory { pool, .. } = self.shared.memory.as_ref()?;
        let room = pool.has_room(self.shared.charge().parties, announced);
        room.err().map(UploadError::from)
    }
}

impl Shared {
    fn charge(&self) -> std::sync::MutexGuard<'_, Charge> {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize, limit: usize) -> Result<(), UploadError> {
        self.metrics.uploaded(bytes);
        let seen = {
            let mut charge = self.charge();
            charge.bytes += bytes;
            charge.bytes
        };
        if seen > limit {
            return Err(UploadError::TooLarge { limit });
        }
        self.reserve(bytes)
    }

    fn reserve(&self, bytes: usize) -> Result<(), UploadError> {
        let Some(Memory { pool, budget }) = &self.memory else {
            return Ok(());
        };
        let reserved = budget.try_reserve(bytes);
        let reserved = reserved.map_err(|_| UploadError::Overloaded)?;
        let mut charge = self.charge();
        match &mut charge.held {
            Some((permit, reservation)) => {
                permit.grow(bytes)?;
                reservation.merge(reserved);
            }
            None => charge.held = Some((pool.try_acquire(charge.parties, bytes)?, reserved)),
        }
        Ok(())
    }
}
