//! Sends objects to clients: streamed within bounds, or by a redirect to a signed URL if clients can
//! reach the store.

use crate::config::ReadsConfig;
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, Permit, Shares};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fovea_store::{ObjectKey, ObjectReader, Presentation, Store, StoreError};
use futures::Stream;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use std::time::Duration;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

/// Pieces read ahead of a slow client.
const READ_AHEAD: usize = 2;
/// `Retry-After` at the limit on downloads.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Sends objects to clients, a bounded number at a time.
pub(crate) struct Downloads {
    store: Store,
    permits: Shares,
    /// A client that reads nothing for this long is disconnected.
    idle: Duration,
    signed_url: Duration,
}

impl Downloads {
    pub(crate) fn new(config: &ReadsConfig, store: Store, metrics: &Metrics) -> Self {
        Self {
            store,
            permits: Shares::new("downloads", config.max_downloads, metrics),
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
        let permit = self.permit(parties)?;
        let reader = self.store.open(key).await.map_err(|error| match error {
            StoreError::NotFound { .. } => missing(),
            error => unread(error),
        })?;
        let length = reader.bytes;
        let pieces = self.stream(permit, |client| pump(reader, client));
        let mut response = attachment(presentation, Body::from_stream(pieces))?;
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        Ok(response)
    }

    /// Admits one download.
    pub(crate) fn permit(&self, parties: Parties) -> Result<Permit, Problem> {
        let permit = self.permits.try_acquire(parties, 1);
        permit.map_err(|refused| {
            let full = ProblemType::TooManyDownloads;
            refused.problem(full, "downloads", RETRY_AFTER_SECONDS)
        })
    }

    /// The body that `work` sends, as fast as the client reads it.
    pub(crate) fn stream<E, F, W>(
        &self,
        permit: Permit,
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
        futures::stream::poll_fn(move |context| pieces.poll_recv(context))
    }
}

/// The client of a download.
pub(crate) struct Client<E> {
    sender: Sender<Result<Bytes, E>>,
    idle: Duration,
}

impl<E> Client<E> {
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
async fn pump(mut reader: ObjectReader, client: Client<StoreError>) {
    while let Some(piece) = reader.next().await {
        let failed = piece.is_err();
        if !client.send(piece).await || failed {
            break;
        }
    }
}

fn no_store() -> HeaderValue {
    HeaderValue::from_static("private, no-store")
}
