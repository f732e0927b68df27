//! Reads answers of the API server within the budget. Jobs have as many bytes as users gave them.

use crate::budget::{Budget, Reservation};
use crate::error::Problem;
use futures::AsyncBufReadExt as _;
use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;
use std::pin::pin;

/// Length of a body that is reserved before the first byte, and of each further step.
const STEP_BYTES: usize = 128 * 1024;
/// Memory of an answer for each byte of its text, which is still there while it is decoded.
const FACTOR: usize = 2;

/// Why an answer was not read.
pub(super) enum Unread {
    /// It has more bytes than the caller takes.
    TooLarge,
    /// There is no memory for it.
    NoMemory(Problem),
    Failed(kube::Error),
}

/// The answer to a request, and the memory of its text and of what it decodes to.
pub(super) async fn read<T: DeserializeOwned>(
    client: &Client,
    request: Request<Vec<u8>>,
    budget: &Budget,
    max_bytes: usize,
) -> Result<(T, Reservation), Unread> {
    let mut reserved = budget
        .reserve(FACTOR * STEP_BYTES)
        .await
        .map_err(Unread::NoMemory)?;
    let body = client.request_stream(request).await;
    let mut body = pin!(body.map_err(Unread::Failed)?);
    let (mut text, mut room) = (Vec::new(), STEP_BYTES);
    loop {
        let piece = body.fill_buf().await;
        let piece = piece.map_err(|error| Unread::Failed(kube::Error::ReadEvents(error)))?;
        let length = piece.len();
        if length == 0 {
            break;
        }
        if text.len() + length > max_bytes {
            return Err(Unread::TooLarge);
        }
        while text.len() + length > room {
            let step = budget.reserve(FACTOR * STEP_BYTES).await;
            reserved.merge(step.map_err(Unread::NoMemory)?);
            room += STEP_BYTES;
        }
        text.extend_from_slice(piece);
        body.consume_unpin(length);
    }
    let decoded = serde_json::from_slice(&text);
    let decoded = decoded.map_err(|error| Unread::Failed(kube::Error::SerdeError(error)))?;
    Ok((decoded, reserved))
}
