//! Upload to the bucket with a form that the owner of the bucket's key signed; this process holds no
//! key.
//!
//! An S3 presigned POST (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>):
//! `fields` are sent unchanged, except that `<commit>/<file>` replaces `${filename}` at the end of
//! `key`; the file follows.

use super::config::HubSettings;
use super::error::ImportError;
use super::manifest::{MANIFEST_FILE, Manifest};
use super::names::RepoId;
use super::transfer::{
    Retry, TransferError, Tries, excerpt, host, io_error, sending_client, transport, wait_after,
};
use crate::s3_error::S3Error;
use fovea_trust::Bundle;
use reqwest::multipart::{Form as Multipart, Part};
use reqwest::{Body, Client, Response, Url};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::fs::File;

/// Largest form, in bytes: a policy is a few hundred.
const MAX_FORM_BYTES: u64 = 64 * 1024;

/// S3's own bound on one POST, in bytes.
const MAX_POST_BYTES: u64 = 5 << 30;

/// Timeout of an upload: a fixed part, and time for the file at the lowest accepted rate. The store
/// answers only when it has everything.
const LEAST_LIMIT: Duration = Duration::from_mins(1);
const LEAST_BYTES_PER_SECOND: u64 = 128 * 1024;

/// The form field with the object's key.
const KEY: &str = "key";

/// Placeholder for the file name at the end of the key.
const FILENAME: &str = "${filename}";

/// Prefix of every model's objects.
const MODELS: &str = "models/";

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    url: Url,
    fields: BTreeMap<String, String>,
    /// The form's field `key` without its end, `${filename}`.
    #[serde(skip)]
    prefix: String,
}

impl Form {
    /// Reads the form at `path`, which must be one for this repository.
    pub(super) fn read(path: &Path, repo: &RepoId) -> Result<Self, ImportError> {
        let refuse = |why: String| ImportError::Form {
            path: path.to_owned(),
            why,
        };
        let bytes = path
            .metadata()
            .map_err(|error| refuse(error.to_string()))?
            .len();
        if bytes > MAX_FORM_BYTES {
            return Err(refuse(format!("it has {bytes} bytes")));
        }
        let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        // The error omits the line, which may hold the signature.
        let mut form: Self = serde_json::from_slice(&text)
            .map_err(|error| refuse(format!("line {}, column {}", error.line(), error.column())))?;
        if !matches!(form.url.scheme(), "http" | "https") || !form.url.has_host() {
            return Err(refuse("its url is no http or https URL".to_owned()));
        }
        let expected = format!("{MODELS}{repo}/{FILENAME}");
        match form.fields.remove(KEY) {
            Some(key) if key == expected => {
                form.prefix = format!("{MODELS}{repo}/");
                Ok(form)
            }
            Some(key) => Err(refuse(format!(
                "its key is {:?}, not {expected:?}",
                excerpt(&key)
            ))),
            None => Err(refuse(format!("it has no key {expected:?}"))),
        }
    }

    /// Sends the manifest's files, from the folder `snapshot`, and then the manifest.
    pub(super) async fn upload(
        &self,
        manifest: &Manifest,
        snapshot: &Path,
        settings: &HubSettings,
        authorities: Option<&Bundle>,
    ) -> Result<(), ImportError> {
        let retry = settings.retry;
        for file in &manifest.files {
            if file.bytes > MAX_POST_BYTES {
                return Err(ImportError::Transfer(TransferError::TooLarge {
                    name: file.path.to_string(),
                    bytes: file.bytes,
                    limit: MAX_POST_BYTES,
                }));
            }
        }
        let client = sending_client(authorities).map_err(ImportError::Client)?;
        let folder = format!("{}{}", self.prefix, manifest.commit);
        for file in &manifest.files {
            let key = format!("{folder}/{}", file.path);
            let place = snapshot.join(file.path.as_str());
            tracing::info!(%key, bytes = file.bytes, "uploading");
            let part = async || file_part(&place, file.bytes).await;
            self.send(&client, &key, file.bytes, part, retry).await?;
        }
        let key = format!("{folder}/{MANIFEST_FILE}");
        let text = manifest.text().map_err(std::io::Error::other);
        let text = text.map_err(io_error("writing", Path::new(MANIFEST_FILE)))?;
        let part = async || Ok(Part::text(text.clone()));
        self.send(&client, &key, text.len() as u64, part, retry)
            .await
    }

    async fn send(
        &self,
        client: &Client,
        key: &str,
        bytes: u64,
        part: impl AsyncFn() -> Result<Part, TransferError>,
        retry: Retry,
    ) -> Result<(), ImportError> {
        let limit = LEAST_LIMIT + Duration::from_secs(bytes / LEAST_BYTES_PER_SECOND);
        let mut tries = Tries::default();
        loop {
            let mut body = Multipart::new().text(KEY, key.to_owned());
            for (name, value) in &self.fields {
                body = body.text(name.clone(), value.clone());
            }
            // S3 ignores fields after the file.
            let body = body.part("file", part().await?);
            let request = client.post(self.url.clone()).multipart(body).timeout(limit);
            let error = match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) if response.status().is_server_error() => status(&response),
                Ok(response) => return Err(refused(response, key).await),
                Err(error) => match transport(&self.url, error) {
                    error @ TransferError::Untrusted { .. } => return Err(error.into()),
                    error => error,
                },
            };
            tries.count(false);
            let wait = wait_after(retry, tries, None, error)?;
            tracing::info!(key, "upload failed, retrying in {wait:?}");
            tokio::time::sleep(wait).await;
        }
    }
}

async fn file_part(place: &Path, bytes: u64) -> Result<Part, TransferError> {
    let file = File::open(place)
        .await
        .map_err(io_error("opening", place))?;
    let stream = tokio_util::io::ReaderStream::new(file);
    Ok(Part::stream_with_length(Body::wrap_stream(stream), bytes))
}

fn status(response: &Response) -> TransferError {
    TransferError::Status {
        host: host(response.url()),
        status: response.status(),
        code: None,
        message: None,
    }
}

/// Extracts S3's `<Code>` and `<Message>` from its XML answer.
async fn refused(response: Response, key: &str) -> ImportError {
    let status = response.status();
    let said = S3Error::read(response).await;
    ImportError::Refused {
        file: key.to_owned(),
        status,
        why: said.map(|said| said.to_string()).unwrap_or_default(),
    }
}
