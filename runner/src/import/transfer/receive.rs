//! Downloads a file until it is complete, and checks its digest.

use super::TransferError;
use super::ask::wait_after;
use super::digest::Digest;
use super::error::io_error;
use super::http::{Answer, Failure, Request, Version, transport};
use super::retry::{Retry, Tries};
use http::StatusCode;
use http::header::CONTENT_RANGE;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};

/// Interval between log lines about the progress of a file.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(in crate::import) struct Wanted<'a> {
    /// Names the file in messages.
    pub(in crate::import) name: &'a str,
    pub(in crate::import) bytes: u64,
    pub(in crate::import) digest: Digest,
}

/// Downloads the file of `request` to `place` through `partial`, which keeps the received bytes if
/// this ends early: by an error, or because the caller drops it.
pub(in crate::import) async fn receive(
    request: &Request<'_>,
    wanted: &Wanted<'_>,
    partial: &Path,
    place: &Path,
    retry: Retry,
) -> Result<(), TransferError> {
    let mut incoming = Incoming::open(partial, wanted).await?;
    let mut resumed = incoming.length > 0;
    loop {
        incoming.fill(request, wanted, retry).await?;
        let found = digest_of(partial, &wanted.digest).await?;
        if found == wanted.digest {
            break;
        }
        incoming.restart().await?;
        // Wrong bytes may come from an earlier process; then one more download from the start helps.
        if !std::mem::take(&mut resumed) {
            return Err(TransferError::Digest {
                name: wanted.name.to_owned(),
                expected: wanted.digest.clone(),
                found,
            });
        }
        tracing::warn!(
            file = wanted.name,
            "what was kept of it is wrong: from the beginning"
        );
    }
    let place_error = io_error("putting in place", place);
    incoming.file.sync_all().await.map_err(&place_error)?;
    if let Some(folder) = place.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(&place_error)?;
    }
    tokio::fs::rename(partial, place)
        .await
        .map_err(&place_error)
}

/// Digests the file at `path` on a blocking thread.
pub(in crate::import) async fn digest_of(
    path: &Path,
    like: &Digest,
) -> Result<Digest, TransferError> {
    let read_error = io_error("reading", path);
    let (path, like) = (path.to_owned(), like.clone());
    let hashing = tokio::task::spawn_blocking(move || like.of_file(&path)).await;
    hashing
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(read_error)
}

struct Incoming<'a> {
    file: File,
    path: &'a Path,
    length: u64,
    /// Bytes received by this process.
    version: Option<Version>,
}

impl<'a> Incoming<'a> {
    async fn open(path: &'a Path, wanted: &Wanted<'_>) -> Result<Self, TransferError> {
        let error = io_error("opening", path);
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(&error)?;
        }
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(path).await.map_err(&error)?;
        let length = file.seek(SeekFrom::End(0)).await.map_err(&error)?;
        let mut incoming = Self {
            file,
            path,
            length,
            version: None,
        };
        if length > wanted.bytes {
            incoming.restart().await?;
        }
        Ok(incoming)
    }

    /// Downloads until the file is complete.
    async fn fill(
        &mut self,
        request: &Request<'_>,
        wanted: &Wanted<'_>,
        retry: Retry,
    ) -> Result<(), TransferError> {
        let mut tries = Tries::default();
        while self.length < wanted.bytes {
            let before = self.length;
            let Err(failure) = self.piece(request, wanted).await else {
                continue;
            };
            self.file
                .flush()
                .await
                .map_err(io_error("writing", self.path))?;
            let (error, retry_after) = match failure {
                Failure::Passing(error, retry_after) => (error, retry_after),
                Failure::Lasting(error) => return Err(error),
            };
            tries.count(self.length > before);
            let wait = wait_after(retry, tries, retry_after, error)?;
            tracing::info!(
                file = wanted.name,
                bytes = self.length,
                "download interrupted, retrying in {wait:?}"
            );
            tokio::time::sleep(wait).await;
        }
        self.file
            .flush()
            .await
            .map_err(io_error("writing", self.path))
    }

    /// Sends one request and appends its response to the partial file.
    async fn piece(&mut self, request: &Request<'_>, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let answer = match request.send(self.length, self.version.as_ref()).await {
            // The file has changed on the server: the received bytes are useless.
            Err(Failure::Lasting(TransferError::Status { status, .. }))
                if self.length > 0 && matches!(status.as_u16(), 412 | 416) =>
            {
                self.restart().await.map_err(Failure::Lasting)?;
                request.send(0, None).await?
            }
            sent => sent?,
        };
        self.check(&answer, wanted).await?;
        self.version = answer.version();
        let mut response = answer.response;
        let url = response.url().clone();
        let mut logged = Instant::now();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| Failure::Passing(transport(&url, error), None))?;
            let Some(chunk) = chunk else { break };
            let after = self.length + chunk.len() as u64;
            if after > wanted.bytes {
                self.restart().await.map_err(Failure::Lasting)?;
                return Err(Failure::Lasting(wanted.wrong_length(after)));
            }
            let written = self.file.write_all(&chunk).await;
            written.map_err(|error| Failure::Lasting(io_error("writing", self.path)(error)))?;
            self.length = after;
            if logged.elapsed() >= LOG_INTERVAL {
                tracing::info!(
                    file = wanted.name,
                    bytes = after,
                    of = wanted.bytes,
                    "on its way"
                );
                logged = Instant::now();
            }
        }
        if self.length == wanted.bytes {
            return Ok(());
        }
        // A body of unknown or wrong length may end without an error.
        Err(Failure::Passing(wanted.wrong_length(self.length), None))
    }

    /// Whether the body continues the partial file; if it is the whole file, starts again.
    async fn check(&mut self, answer: &Answer, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let announced = answer.response.content_length();
        if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            let range = answer.header(CONTENT_RANGE.as_str());
            let expected = format!(
                "bytes {}-{}/{}",
                self.length,
                wanted.bytes - 1,
                wanted.bytes
            );
            if range != Some(&expected) {
                self.restart().await.map_err(Failure::Lasting)?;
                let found = announced.unwrap_or_default();
                return Err(Failure::Passing(wanted.wrong_length(found), None));
            }
            return Ok(());
        }
        if self.length > 0 {
            self.restart().await.map_err(Failure::Lasting)?;
        }
        match announced {
            Some(found) if found != wanted.bytes => {
                Err(Failure::Lasting(wanted.wrong_length(found)))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the received bytes, to begin at the first one.
    async fn restart(&mut self) -> Result<(), TransferError> {
        let error = io_error("emptying", self.path);
        self.file.set_len(0).await.map_err(&error)?;
        self.file.rewind().await.map_err(&error)?;
        (self.length, self.version) = (0, None);
        Ok(())
    }
}

impl Wanted<'_> {
    fn wrong_length(&self, found: u64) -> TransferError {
        TransferError::Length {
            name: self.name.to_owned(),
            expected: self.bytes,
            found,
        }
    }
}
