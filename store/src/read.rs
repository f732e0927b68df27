//! Streamed and partial reads, ages, deletion and signed downloads of objects.
//!
//! The SDK's stalled-stream protection ends a body that stalls with an error.

use crate::error::is_past_the_end;
use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use std::time::{Duration, SystemTime};

/// The body of an object, read piece by piece.
#[derive(Debug)]
pub struct ObjectReader {
    /// Length of the object in bytes, if the store sent it.
    pub bytes: Option<u64>,
    body: ByteStream,
}

impl ObjectReader {
    /// The next piece; `None` at the end. An error is final.
    pub async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let piece = self.body.next().await?;
        Some(piece.map_err(|error| StoreError::Unavailable(error.to_string())))
    }
}

/// Response headers that a signed URL asks the store for.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    /// Value of the answer's `Content-Type`.
    pub content_type: &'a str,
    /// Value of the answer's `Content-Disposition`.
    pub disposition: &'a str,
}

impl Store {
    /// Opens an object for reading. An error after this comes from [`ObjectReader::next`].
    pub async fn open(&self, key: &ObjectKey) -> Result<ObjectReader, StoreError> {
        let answer = self.client.get_object();
        let answer = answer.bucket(&self.bucket).key(key.as_str()).send().await;
        let answer =
            answer.map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let bytes = answer.content_length();
        Ok(ObjectReader {
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            body: answer.body,
        })
    }

    /// The first `count` bytes of an object, or all of a shorter one.
    pub async fn head(&self, key: &ObjectKey, count: u64) -> Result<Bytes, StoreError> {
        self.range(key, 0, count).await
    }

    /// Up to `count` bytes of an object from the byte `from` on; none if it ends before. A store without range
    /// support sends bytes from the object's beginning.
    pub async fn range(&self, key: &ObjectKey, from: u64, count: u64) -> Result<Bytes, StoreError> {
        let last = from.saturating_add(count.saturating_sub(1));
        let request = self.client.get_object().bucket(&self.bucket);
        let request = request
            .key(key.as_str())
            .range(format!("bytes={from}-{last}"));
        let answer = match request.send().await {
            Ok(answer) => answer,
            // An empty object has no first byte.
            Err(error) if is_past_the_end(&error) => return Ok(Bytes::new()),
            Err(error) => return Err(StoreError::from_sdk(&error, &self.bucket, key.as_str())),
        };
        let mut reader = ObjectReader {
            bytes: None,
            body: answer.body,
        };
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() as u64 >= count {
                bytes.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                break;
            }
        }
        Ok(bytes.into())
    }

    /// Time of an object's last write; `None` if it does not exist.
    pub async fn modified(&self, key: &ObjectKey) -> Result<Option<SystemTime>, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket);
        match request.key(key.as_str()).send().await {
            Ok(found) => {
                let time = found.last_modified().copied();
                let time = time.and_then(|time| SystemTime::try_from(time).ok());
                let missing = || StoreError::Unavailable(format!("{key} has no Last-Modified"));
                time.map(Some).ok_or_else(missing)
            }
            Err(error) => match StoreError::from_sdk(&error, &self.bucket, key.as_str()) {
                StoreError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Deletes an object. Succeeds also if it does not exist.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket);
        match request.key(key.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match StoreError::from_sdk(&error, &self.bucket, key.as_str()) {
                StoreError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// A signed URL at --s3-public-endpoint that allows a GET of this object for `lifetime`; `None`
    /// without such an endpoint. Signing sends no request.
    pub async fn presign_public_get(
        &self,
        key: &ObjectKey,
        lifetime: Duration,
        presentation: Presentation<'_>,
    ) -> Result<Option<String>, StoreError> {
        let Some(public) = &self.public else {
            return Ok(None);
        };
        if !key.is_inside_its_prefix() {
            return Err(StoreError::Config(format!(
                "refusing to presign {key}: it left its prefix"
            )));
        }
        let presigning = self.presigning(lifetime).await?;
        public
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .response_content_type(presentation.content_type)
            .response_content_disposition(presentation.disposition)
            .presigned(presigning)
            .await
            .map(|request| Some(request.uri().to_owned()))
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }
}
