//! Reads the operator's lines from the request's body.

use axum::body::Body;
use fovea_protocol::{MAX_LINE_BYTES, Order};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use std::time::Duration;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

/// The lines of one request.
pub(super) struct Orders(BoxStream<'static, Result<String, LinesCodecError>>);

/// Why there is no further order.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The connection broke, or the operator has closed the request.
    #[error("the request's body has ended")]
    Gone,
    #[error("a line of the request is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("a line of the request is no order: {0}")]
    Unreadable(serde_json::Error),
}

impl Orders {
    pub(super) fn new(body: Body) -> Self {
        let bytes = body.into_data_stream().map_err(std::io::Error::other);
        let codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
        Self(FramedRead::new(StreamReader::new(bytes), codec).boxed())
    }

    /// Reads on until the operator has closed the request, but no longer than this. A connection that is
    /// closed before takes away the answer's last bytes.
    pub(super) async fn drain(&mut self, limit: Duration) {
        let closed = async { while !matches!(self.next().await, Err(Ended::Gone)) {} };
        // An error means that the operator goes on; it has had time to read the answer.
        let _ = tokio::time::timeout(limit, closed).await;
    }

    /// The next order. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Order, Ended> {
        match self.0.next().await {
            Some(Ok(line)) => serde_json::from_str(&line).map_err(Ended::Unreadable),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => Err(Ended::TooLong),
            Some(Err(LinesCodecError::Io(_))) | None => Err(Ended::Gone),
        }
    }
}
