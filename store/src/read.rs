//! Whole, streamed and partial reads, ages, deletion and signed downloads of objects.
//!
//! A body that is shorter than the store said is an error, never an object: its length comes with the answer,
//! or is asked for. The SDK's stalled-stream protection ends a body that stalls with an error.

use crate::error::is_past_the_end;
use crate::not_s3::{is_page, not_s3};
use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::operation::RequestId as _;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use std::time::{Duration, SystemTime};

/// How often an object is read whose body breaks off, the first time included.
pub(crate) const BODY_TRIES: u32 = 3;

/// The body of an object, read piece by piece.
#[derive(Debug)]
pub struct ObjectReader {
    /// Length of what is read, in bytes.
    pub bytes: u64,
    key: String,
    read_bytes: u64,
    body: ByteStream,
    has_ended: bool,
}

impl ObjectReader {
    /// The next piece; `None` at the end. An error, such as an end before the object's, is final.
    pub async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        if self.has_ended {
            return None;
        }
        let piece = match self.body.next().await {
            Some(Ok(piece)) => {
                self.read_bytes += piece.len() as u64;
                return Some(Ok(piece));
            }
            Some(Err(error)) => Some(error.to_string()),
            None if self.read_bytes < self.bytes => Some("no more came".to_owned()),
            None => None,
        };
        self.has_ended = true;
        let (read, all) = (self.read_bytes, self.bytes);
        piece.map(|why| {
            Err(StoreError::Broken {
                key: self.key.clone(),
                why: format!("after {read} of {all} bytes: {why}"),
            })
        })
    }

    /// The whole of it, at most `limit` bytes.
    async fn whole(mut self, limit: u64) -> Result<Bytes, StoreError> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(StoreError::TooLarge {
                    key: self.key,
                    limit,
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
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
    /// Reads an object of at most `limit` bytes into memory. It is read again, a few times, if its body breaks
    /// off.
    pub async fn get(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let mut tries = 1;
        loop {
            let answer = Box::pin(self.request(key)).await?;
            let stranger = stranger(&answer);
            match self.reader(key, answer).await?.whole(limit).await {
                Ok(body) => {
                    let page = stranger.filter(|_| is_page(&body));
                    return page.map_or(Ok(body.clone()), |kind| Err(not_s3(&kind, &body)));
                }
                Err(StoreError::Broken { why, .. }) if tries < BODY_TRIES => {
                    tracing::debug!(%key, why, "reading an object again");
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Store::get`]; `None` if there is no such object.
    pub(crate) async fn get_opt(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.get(key, limit).await {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens an object for reading. An error after this comes from [`ObjectReader::next`].
    pub async fn open(&self, key: &ObjectKey) -> Result<ObjectReader, StoreError> {
        let answer = self.request(key).await?;
        self.reader(key, answer).await
    }

    async fn request(&self, key: &ObjectKey) -> Result<GetObjectOutput, StoreError> {
        let request = self.client.get_object().bucket(&self.bucket);
        let answer = request.key(key.as_str()).send().await;
        answer.map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }

    /// A reader of the whole object. A store, or what stands before it, may leave its length out.
    async fn reader(
        &self,
        key: &ObjectKey,
        answer: GetObjectOutput,
    ) -> Result<ObjectReader, StoreError> {
        let length = answer.content_length();
        let bytes = match length.and_then(|length| u64::try_from(length).ok()) {
            Some(bytes) => bytes,
            None => match (Box::pin(self.length(key)).await?, stranger(&answer)) {
                (Some(bytes), _) => bytes,
                (None, Some(kind)) => return Err(not_s3(&kind, b"")),
                (None, None) => {
                    let missing = format!("{key} has no Content-Length");
                    return Err(StoreError::Unavailable(missing));
                }
            },
        };
        Ok(ObjectReader {
            bytes,
            key: key.to_string(),
            read_bytes: 0,
            body: answer.body,
            has_ended: false,
        })
    }

    async fn length(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket);
        let found = request.key(key.as_str()).send().await;
        let found =
            found.map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let length = found.content_length();
        Ok(length.and_then(|length| u64::try_from(length).ok()))
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
        let mut reader = self.part_reader(key, (from, count), answer).await?;
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

    /// As [`Store::reader`], of `count` bytes from the byte `from` on.
    async fn part_reader(
        &self,
        key: &ObjectKey,
        (from, count): (u64, u64),
        answer: GetObjectOutput,
    ) -> Result<ObjectReader, StoreError> {
        let is_part = answer.content_range().is_some();
        let is_announced = answer.content_length().is_some();
        let mut reader = self.reader(key, answer).await?;
        // What was asked for is the whole object's length.
        if is_part && !is_announced {
            reader.bytes = reader.bytes.saturating_sub(from).min(count);
        }
        Ok(reader)
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

/// The type of an answer that lacks the id which S3 gives each request. A web page there is no object; one with
/// the id is what a user has written.
fn stranger(answer: &GetObjectOutput) -> Option<String> {
    let has_id = answer.request_id().is_some();
    let kind = || {
        answer
            .content_type()
            .unwrap_or("no Content-Type")
            .to_owned()
    };
    (!has_id).then(kind)
}
