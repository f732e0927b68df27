//! Reads an object piece by piece, one ranged request each, for readers that may be slow: no more than a piece
//! is in memory, and between two pieces no connection is held.

use crate::error::is_past_the_end;
use crate::read::BODY_TRIES;
use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};

/// Length of a piece, in bytes.
pub const PIECE_BYTES: usize = 256 * 1024;

/// An object that is read piece by piece. All pieces are of one version of the object: if it is replaced
/// meanwhile, the next piece is an error.
#[derive(Debug)]
pub struct ObjectPieces {
    /// Length of the object, in bytes.
    pub bytes: u64,
    store: Store,
    key: ObjectKey,
    etag: Option<String>,
    read_bytes: u64,
    /// The first piece, until it is taken.
    first: Option<Bytes>,
}

impl Store {
    /// Opens an object and reads its first piece.
    pub async fn open_in_pieces(&self, key: &ObjectKey) -> Result<ObjectPieces, StoreError> {
        let mut pieces = ObjectPieces {
            bytes: 0,
            store: self.clone(),
            key: key.clone(),
            etag: None,
            read_bytes: 0,
            first: None,
        };
        // An empty object has no first byte.
        pieces.first = pieces.read_next().await?;
        Ok(pieces)
    }
}

impl ObjectPieces {
    /// Bytes that are in memory.
    pub fn read_ahead(&self) -> usize {
        self.first.as_ref().map_or(0, Bytes::len)
    }

    /// The next piece; `None` at the end. An error is final.
    pub async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.read_bytes >= self.bytes {
            return None;
        }
        let piece = match self.read_next().await {
            Ok(piece) => piece.ok_or_else(|| self.broken("it has become shorter")),
            Err(error) => Err(error),
        };
        if piece.is_err() {
            self.bytes = 0;
        }
        Some(piece)
    }

    /// Reads the next piece, a few times if it breaks off; `None` if there is no further byte.
    async fn read_next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut tries = 1;
        loop {
            let Some(answer) = self.request().await? else {
                return Ok(None);
            };
            if self.read_bytes == 0 {
                self.etag = answer.e_tag().map(str::to_owned);
                self.bytes = length(&answer);
            }
            match self.read(answer).await {
                Ok(piece) => return Ok(Some(piece)),
                Err(StoreError::Broken { why, .. }) if tries < BODY_TRIES => {
                    tracing::debug!(key = %self.key, why, "reading a piece again");
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Requests the next piece; `None` if there is no further byte.
    async fn request(&self) -> Result<Option<GetObjectOutput>, StoreError> {
        let from = self.read_bytes;
        let request = self.store.client.get_object().bucket(&self.store.bucket);
        let request = request
            .key(self.key.as_str())
            .range(format!("bytes={from}-{}", from + PIECE_BYTES as u64 - 1))
            .set_if_match(self.etag.clone());
        match request.send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_past_the_end(&error) => Ok(None),
            Err(error) => {
                let (bucket, key) = (&self.store.bucket, self.key.as_str());
                Err(StoreError::from_sdk(&error, bucket, key))
            }
        }
    }

    async fn read(&mut self, answer: GetObjectOutput) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.bytes - self.read_bytes).unwrap_or(usize::MAX);
        let expected = left.min(PIECE_BYTES);
        let mut body = answer.body;
        let mut piece = BytesMut::with_capacity(expected);
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| self.broken(&error.to_string()))?;
            if piece.len() + chunk.len() > expected {
                return Err(self.broken("the store sent more than was asked for"));
            }
            piece.extend_from_slice(&chunk);
        }
        if piece.len() < expected {
            return Err(self.broken("the store sent less than was asked for"));
        }
        self.read_bytes += piece.len() as u64;
        Ok(piece.freeze())
    }

    fn broken(&self, why: &str) -> StoreError {
        StoreError::Broken {
            key: self.key.to_string(),
            why: format!("after {} of {} bytes: {why}", self.read_bytes, self.bytes),
        }
    }
}

/// Length of the whole object: the total of `Content-Range: bytes 0-9/100`, or the length of an answer without.
fn length(answer: &GetObjectOutput) -> u64 {
    let total = answer
        .content_range()
        .and_then(|range| range.rsplit_once('/'));
    let total = total.and_then(|(_, total)| total.parse().ok());
    let whole = answer
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    total.or(whole).unwrap_or_default()
}
