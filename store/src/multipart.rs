//! Writes an object whose length is not known before: an S3 multipart upload with one part in memory.

use crate::{ObjectKey, Store, StoreError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};

/// Length of a part, in bytes. S3 demands 5 MiB of all parts but the last.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Most parts of an object; S3's own limit.
const MAX_PARTS: i32 = 10_000;
/// Most bytes that an [`ObjectWriter`] writes.
pub const MAX_MULTIPART_BYTES: u64 = PART_BYTES as u64 * MAX_PARTS as u64;

/// An object that is being written. It exists once [`ObjectWriter::finish`] has returned; if the writer is
/// dropped before, the parts are deleted in the background.
#[derive(Debug)]
pub struct ObjectWriter {
    store: Store,
    key: ObjectKey,
    /// `None` once the upload has ended.
    upload: Option<String>,
    buffer: BytesMut,
    parts: Vec<CompletedPart>,
}

impl Store {
    /// Begins to write an object, which will replace any that has this key.
    pub async fn create(
        &self,
        key: &ObjectKey,
        content_type: &str,
    ) -> Result<ObjectWriter, StoreError> {
        let request = self.client.create_multipart_upload().bucket(&self.bucket);
        let begun = request
            .key(key.as_str())
            .content_type(content_type)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let upload = begun.upload_id().map(str::to_owned);
        let unnamed = || StoreError::Unavailable(format!("a multipart upload of {key} has no id"));
        Ok(ObjectWriter {
            store: self.clone(),
            key: key.clone(),
            upload: Some(upload.ok_or_else(unnamed)?),
            buffer: BytesMut::new(),
            parts: Vec::new(),
        })
    }
}

impl ObjectWriter {
    /// Appends bytes; sends a part once there are enough of them.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = PART_BYTES - self.buffer.len();
            self.buffer
                .extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.buffer.len() == PART_BYTES {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Completes the object.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        // An object has one part at least, if it is empty, too.
        if !self.buffer.is_empty() || self.parts.is_empty() {
            self.send_part().await?;
        }
        let parts = std::mem::take(&mut self.parts);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let Store { client, bucket, .. } = &self.store;
        client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(self.key.as_str())
            .set_upload_id(self.upload.clone())
            .multipart_upload(parts.build())
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, bucket, self.key.as_str()))?;
        self.upload = None;
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        if number > MAX_PARTS {
            return Err(StoreError::TooLarge {
                key: self.key.to_string(),
                limit: MAX_MULTIPART_BYTES,
            });
        }
        let Store { client, bucket, .. } = &self.store;
        let sent = client
            .upload_part()
            .bucket(bucket)
            .key(self.key.as_str())
            .set_upload_id(self.upload.clone())
            .part_number(number)
            .body(ByteStream::from(self.buffer.split().freeze()))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, bucket, self.key.as_str()))?;
        let part = CompletedPart::builder().part_number(number);
        self.parts
            .push(part.set_e_tag(sent.e_tag().map(str::to_owned)).build());
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let Store { client, bucket, .. } = &self.store;
        let abort = client.abort_multipart_upload().bucket(bucket);
        let abort = abort.key(self.key.as_str()).upload_id(upload);
        let key = self.key.to_string();
        runtime.spawn(async move {
            if let Err(error) = abort.send().await {
                tracing::warn!(key, %error, "parts of an upload that was given up remain in the store");
            }
        });
    }
}
