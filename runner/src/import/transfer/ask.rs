//! Requests with small answers, with retries.

use super::TransferError;
use super::http::{Answer, Failure, Request, host, transport};
use super::retry::{Next, Retry, Tries};
use std::time::Duration;

pub(in crate::import) async fn ask(
    request: &Request<'_>,
    retry: Retry,
) -> Result<Answer, TransferError> {
    let mut tries = Tries::default();
    loop {
        let (error, retry_after) = match request.send(0, None).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(error, retry_after)) => (error, retry_after),
        };
        tries.count(false);
        let wait = wait_after(retry, tries, retry_after, error)?;
        tracing::info!(host = host(&request.url), "no answer, retrying in {wait:?}");
        tokio::time::sleep(wait).await;
    }
}

/// The body of the answer to `request`, of at most `limit` bytes.
pub(in crate::import) async fn ask_body(
    request: &Request<'_>,
    limit: u64,
    retry: Retry,
) -> Result<Vec<u8>, TransferError> {
    let Answer { mut response } = ask(request, retry).await?;
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport(&url, error))?
    {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > limit {
            return Err(TransferError::TooLarge {
                name: format!("an answer of {}", host(&url)),
                bytes: body.len() as u64,
                limit,
            });
        }
    }
    Ok(body)
}

/// The wait after a failed try, or the final error.
pub(in crate::import) fn wait_after(
    retry: Retry,
    tries: Tries,
    retry_after: Option<Duration>,
    error: TransferError,
) -> Result<Duration, TransferError> {
    match (retry.next(tries, retry_after, rand::random()), error) {
        (Next::Wait(wait), _) => Ok(wait),
        (Next::RetryAfterTooLong(wait), TransferError::Status { host, .. }) => {
            Err(TransferError::Throttled { host, wait })
        }
        (Next::RetryAfterTooLong(_), error) => Err(error),
        (Next::GiveUp, error) => Err(TransferError::GivenUp {
            tries: tries.all(),
            last: Box::new(error),
        }),
    }
}
