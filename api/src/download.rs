//! Sends objects to clients: streamed within bounds, or by a redirect to a signed URL if clients can
//! reach the store.

use crate::budget::{Budget, Reservation, hold};
use crate::config::ReadsConfig;
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, Permit, Shares};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fovea_store::{ObjectKey, ObjectPieces, PIECE_BYTES, Presentation, Store, StoreError};
use futures::Stream;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

/// Pieces read ahead of a slow client.
const READ_AHEAD: usize = 1;
/// Memory of one download, in bytes: two pieces in the connection's write queue, one read ahead, and the buffers
/// of the connection to the store while one is read.
const DOWNLOAD_BYTES: usize = 4 * PIECE_BYTES;
/// How long a download waits for its place: clients that ask again at once would otherwise cost more than downloads.
const PATIENCE: Duration = Duration::from_secs(1);
/// `Retry-After` at the limit on downloads.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Sends objects to clients, a bounded number at a time.
pub(crate) struct Downloads {
    store: Store,
    permits: Shares,
    budget: Budget,
    /// A client that reads nothing for this long is disconnected.
    idle: Duration,
    signed_url: Duration,
}

impl Downloads {
    pub(crate) fn new(
        config: &ReadsConfig,
        store: Store,
        budget: Budget,
        metrics: &Metrics,
    ) -> Self {
        Self {
            store,
            permits: Shares::new("downloads", config.max_downloads, metrics),
            budget,
            idle: config.download_idle(),
            signed_url: config.signed_url(),
        }
    }

    /// Sends one object, or a redirect to its signed URL; `missing` is the problem if it does not
    /// exist.
    pub(crate) async fn send(
        &self,
        parties: Parties,
        key: &ObjectKey,
        presentation: Presentation<'_>,
        missing: impl FnOnce() -> Problem,
    ) -> Result<Response, Problem> {
        let signed = self
            .store
            .presign_public_get(key, self.signed_url, presentation);
        if let Some(url) = signed.await.map_err(Problem::internal)? {
            let location = HeaderValue::try_from(url).map_err(Problem::internal)?;
            let headers = [(LOCATION, location), (CACHE_CONTROL, no_store())];
            return Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response());
        }
        let mut admitted = self.admit(parties, 0).await?;
        let opened = self.store.open_in_pieces(key).await;
        let pieces = opened.map_err(|error| match error {
            StoreError::NotFound { .. } => missing(),
            error => unread(error),
        })?;
        let length = pieces.bytes;
        // All of it is in memory already.
        if length <= PIECE_BYTES as u64 {
            admitted.1.shrink(pieces.read_ahead());
        }
        let body = self.stream(admitted, |client| pump(pieces, client));
        let mut response = attachment(presentation, Body::from_stream(body))?;
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        Ok(response)
    }

    /// Admits one download, which holds so many bytes beside its pieces.
    pub(crate) async fn admit(
        &self,
        parties: Parties,
        more_bytes: usize,
    ) -> Result<Admitted, Problem> {
        let permit = self.permits.acquire(parties, PATIENCE).await;
        let permit = permit.map_err(|refused| {
            let full = ProblemType::TooManyDownloads;
            refused.problem(full, "downloads", RETRY_AFTER_SECONDS)
        })?;
        let reserved = self.budget.reserve(DOWNLOAD_BYTES + more_bytes).await?;
        Ok((permit, reserved))
    }

    /// The body that `work` sends, as fast as the client reads it.
    pub(crate) fn stream<E, F, W>(
        &self,
        (permit, reserved): Admitted,
        work: W,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send + use<E, F, W>
    where
        W: FnOnce(Client<E>) -> F,
        E: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, mut pieces) = mpsc::channel(READ_AHEAD);
        let idle = self.idle;
        let work = work(Client { sender, idle });
        tokio::spawn(async move {
            work.await;
            drop(permit);
        });
        // Until the connection has written the last piece, which is after the end of the work.
        let reserved = Arc::new(reserved);
        futures::stream::poll_fn(move |context| {
            let piece = pieces.poll_recv(context);
            piece.map(|piece| Some(piece?.map(|bytes| hold(bytes, Arc::clone(&reserved)))))
        })
    }
}

/// A download's place and its memory.
pub(crate) type Admitted = (Permit, Reservation);

/// The client of a download.
pub(crate) struct Client<E> {
    sender: Sender<Result<Bytes, E>>,
    idle: Duration,
}

impl<E> Client<E> {
    /// Waits until there is room for the next piece, so that it is not read before; whether the client
    /// still reads.
    pub(crate) async fn ready(&self) -> bool {
        let room = timeout(self.idle, self.sender.reserve()).await;
        matches!(room, Ok(Ok(_)))
    }

    /// Sends a piece, or the error that ends the body; whether the client still reads.
    pub(crate) async fn send(&self, piece: Result<Bytes, E>) -> bool {
        matches!(
            timeout(self.idle, self.sender.send(piece)).await,
            Ok(Ok(()))
        )
    }
}

/// A response that a browser does not render as a page of this origin.
pub(crate) fn attachment(
    presentation: Presentation<'_>,
    body: impl Into<Body>,
) -> Result<Response, Problem> {
    let text = |text: &str| HeaderValue::try_from(text).map_err(Problem::internal);
    let headers = [
        (CONTENT_TYPE, text(presentation.content_type)?),
        (CONTENT_DISPOSITION, text(presentation.disposition)?),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
        (CACHE_CONTROL, no_store()),
    ];
    Ok((headers, body.into()).into_response())
}

/// Why an object could not be read.
pub(crate) fn unread(error: StoreError) -> Problem {
    let detail = "the object store could not be read: try again";
    Problem::new(ProblemType::StoreUnavailable, detail)
        .caused_by(error)
        .retry_after(2)
}

/// Sends an object, and gives up on a client that reads nothing.
async fn pump(mut pieces: ObjectPieces, client: Client<StoreError>) {
    while client.ready().await
        && let Some(piece) = pieces.next().await
    {
        let failed = piece.is_err();
        if !client.send(piece).await || failed {
            break;
        }
    }
}

fn no_store() -> HeaderValue {
    HeaderValue::from_static("private, no-store")
}
