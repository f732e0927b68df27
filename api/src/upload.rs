//! Reads a request's body within bounds: its bytes, the bytes of all concurrent bodies, time.
//!
//! Memory is charged as bytes arrive, to the share of uploads and to the budget of all requests, so that a
//! slow client holds no more than it has sent. A body without Content-Length may take twice its charge while its
//! buffer grows.

use crate::budget::{Budget, Reservation};
use crate::config::{LimitsConfig, TimeoutsConfig};
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes discarded after an early refusal, so that a client that sends its whole body before it reads
/// gets the response, not a reset connection.
const DRAIN_BYTES: usize = 32 * 1024 * 1024;
/// Archives and manifests that are uploaded at a time. Each may have a file of its size on the disk.
const MAX_ARCHIVES: usize = 2;
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
    #[error("no byte of the body arrived for {} s, or the whole did not arrive within {} s", idle.as_secs_f32(), whole.as_secs_f32())]
    TooSlow { idle: Duration, whole: Duration },
    #[error("the connection broke before the body was whole: {0}")]
    Broken(String),
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let detail = error.to_string();
        match error {
            UploadError::TooLarge { .. } => Self::new(ProblemType::TooLarge, detail),
            UploadError::Overloaded => Self::new(ProblemType::Overloaded, detail).retry_after(1),
            UploadError::TooSlow { .. } => Self::new(ProblemType::BodyTimeout, detail),
            UploadError::Broken(_) => Self::new(ProblemType::MalformedRequest, detail),
        }
    }
}

/// The bounds that all uploads share.
#[derive(Clone)]
pub(crate) struct Intake {
    memory: Arc<Semaphore>,
    budget: Budget,
    pub(crate) max_upload_bytes: usize,
    pub(crate) max_archive_bytes: usize,
    archives: Arc<Semaphore>,
    idle: Duration,
    whole: Duration,
    archive_whole: Duration,
    metrics: Arc<Metrics>,
}

impl Intake {
    pub(crate) fn new(
        limits: &LimitsConfig,
        timeouts: &TimeoutsConfig,
        budget: Budget,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            budget,
            metrics,
            memory: Arc::new(Semaphore::new(
                limits.upload_memory_bytes.min(Semaphore::MAX_PERMITS),
            )),
            max_upload_bytes: limits.max_upload_bytes,
            max_archive_bytes: limits.max_archive_bytes,
            archives: Arc::new(Semaphore::new(MAX_ARCHIVES)),
            idle: Duration::from_millis(timeouts.body_idle_timeout_ms),
            whole: Duration::from_millis(timeouts.body_timeout_ms),
            archive_whole: Duration::from_millis(timeouts.archive_timeout_ms),
        }
    }

    /// Opens a request's body, of which at most `limit` bytes are read.
    pub(crate) fn open(&self, headers: &HeaderMap, body: Body, limit: usize) -> Upload {
        let memory = Some((Arc::clone(&self.memory), self.budget.clone()));
        self.open_with(headers, body, limit, memory, self.whole)
    }

    /// Opens a body that is passed on as it arrives: its bytes are not charged.
    pub(crate) fn open_archive(&self, headers: &HeaderMap, body: Body, limit: usize) -> Upload {
        self.open_with(headers, body, limit, None, self.archive_whole)
    }

    /// Admits an archive or a manifest.
    pub(crate) async fn admit_archive(
        &self,
    ) -> Result<(OwnedSemaphorePermit, Reservation), Problem> {
        let admitted = Arc::clone(&self.archives).try_acquire_owned();
        let admitted = admitted.map_err(|_| {
            let detail = format!(
                "{MAX_ARCHIVES} archives or manifests are being uploaded: try again in a moment"
            );
            Problem::new(ProblemType::Overloaded, detail).retry_after(10)
        })?;
        // A picture's buffer grows by doubling.
        let bytes = ARCHIVE_BYTES.saturating_add(self.max_upload_bytes.saturating_mul(2));
        Ok((admitted, self.budget.reserve(bytes).await?))
    }

    fn open_with(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        memory: Option<(Arc<Semaphore>, Budget)>,
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
    whole: Duration,
}

struct Shared {
    body: tokio::sync::Mutex<BodyDataStream>,
    charge: Mutex<Charge>,
    /// What bytes are charged to; `None` if they are passed on as they arrive.
    memory: Option<(Arc<Semaphore>, Budget)>,
    metrics: Arc<Metrics>,
}

/// The state of an [`Upload::stream`].
struct Reader {
    shared: Arc<Shared>,
    limit: usize,
    idle: Duration,
    whole: Duration,
    deadline: Instant,
    refused: Option<UploadError>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, UploadError>> {
        if let Some(error) = self.refused.take() {
            return Some(Err(error));
        }
        let (idle, whole) = (self.idle, self.whole);
        let mut body = self.shared.body.lock().await;
        let wait = self.deadline.min(Instant::now() + idle);
        match tokio::time::timeout_at(wait, body.next()).await {
            Err(_) => Some(Err(UploadError::TooSlow { idle, whole })),
            Ok(None) => None,
            Ok(Some(Err(error))) => Some(Err(UploadError::Broken(error.to_string()))),
            Ok(Some(Ok(piece))) => Some(self.shared.take(piece.len(), self.limit).map(|()| piece)),
        }
    }
}

struct Charge {
    bytes: usize,
    held: Option<(OwnedSemaphorePermit, Reservation)>,
    fault: Option<UploadError>,
}

impl Upload {
    /// The body in pieces, bounded. The first error is its last item and is kept as
    /// [`Self::fault`], for readers in between that change errors.
    pub(crate) fn stream(&self) -> impl Stream<Item = Result<Bytes, UploadError>> + Send + use<> {
        let reader = Reader {
            shared: Arc::clone(&self.shared),
            limit: self.limit,
            idle: self.idle,
            whole: self.whole,
            deadline: Instant::now() + self.whole,
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
        let (memory, _) = self.shared.memory.as_ref()?;
        let free = memory.available_permits();
        (announced > free).then_some(UploadError::Overloaded)
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
        let Some((memory, budget)) = &self.memory else {
            return Ok(());
        };
        let count = u32::try_from(bytes).map_err(|_| UploadError::Overloaded)?;
        let permit = Arc::clone(memory)
            .try_acquire_many_owned(count)
            .map_err(|_| UploadError::Overloaded)?;
        let reserved = budget.try_reserve(bytes);
        let reserved = reserved.map_err(|_| UploadError::Overloaded)?;
        match &mut self.charge().held {
            Some((held, reservation)) => {
                held.merge(permit);
                reservation.merge(reserved);
            }
            none => *none = Some((permit, reserved)),
        }
        Ok(())
    }
}
