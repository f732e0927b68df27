//! Downloads a checkpoint for a serving runner from a manifest of presigned GETs, without a
//! credential of its own.

use super::names::{FilePath, InvalidName};
use super::transfer::{
    Digest, Lock, Request, Retry, TransferError, Wanted, digest_of, receive, store_client,
};
use fovea_protocol::ModelFile;
use fovea_trust::Bundle;
use http::Method;
use reqwest::Url;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const INCOMPLETE: &str = ".incomplete";

#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// Upper bound on the files of one model.
    pub max_files: usize,
    /// Upper bound on the bytes of all files together.
    pub max_bytes: u64,
    /// Longest wait for the next bytes from the store.
    pub silence: Duration,
    pub retry: Retry,
}

impl Default for DownloadLimits {
    fn default() -> Self {
        Self {
            max_files: 256,
            max_bytes: 64 << 30,
            silence: Duration::from_secs(30),
            retry: Retry::default(),
        }
    }
}

/// Why a checkpoint could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("the manifest is refused: {0}")]
    Manifest(String),
    #[error("cannot make an HTTP client: {0}")]
    Client(fovea_proxy::ClientError),
    /// The store rejects the URL: it has expired or was never valid.
    #[error("{path}: {source}; are the presigned URLs still valid?")]
    Refused { path: String, source: TransferError },
    #[error("{path}: {source}")]
    Transfer { path: String, source: TransferError },
}

/// Downloads the files to `dir`. Each appears atomically after its length and digest are verified;
/// existing ones are kept. Dropping the future stops it; the next call resumes partial files. Goes
/// through the environment's proxies, and uses no redirects and no credentials. `authorities`: the store's,
/// instead of the system's.
pub async fn download(
    files: &[ModelFile],
    dir: &Path,
    limits: DownloadLimits,
    authorities: Option<&Bundle>,
) -> Result<(), DownloadError> {
    let wanted = check(files, limits)?;
    let client = store_client(limits.silence, authorities).map_err(DownloadError::Client)?;
    for (path, url, wanted) in wanted {
        let request = Request {
            client: &client,
            method: Method::GET,
            url,
            token: None,
            redirects: 0,
        };
        let explain = |source| match source {
            TransferError::Status { .. } | TransferError::Redirect { .. } => {
                DownloadError::Refused {
                    path: path.to_string(),
                    source,
                }
            }
            source => DownloadError::Transfer {
                path: path.to_string(),
                source,
            },
        };
        download_file(&request, &wanted, &path, dir, limits.retry)
            .await
            .map_err(explain)?;
    }
    Ok(())
}

async fn download_file(
    request: &Request<'_>,
    wanted: &Wanted<'_>,
    path: &FilePath,
    dir: &Path,
    retry: Retry,
) -> Result<(), TransferError> {
    let incomplete = dir.join(INCOMPLETE);
    let partial = incomplete.join(wanted.digest.hex());
    // Several runners may share a volume.
    let _lock = Lock::take(&partial.with_extension("lock")).await?;
    let place = dir.join(path.as_str());
    let length = tokio::fs::metadata(&place).await.map(|found| found.len());
    if length.is_ok_and(|length| length == wanted.bytes)
        && digest_of(&place, &wanted.digest).await? == wanted.digest
    {
        return Ok(());
    }
    tracing::info!(file = %path, bytes = wanted.bytes, "downloading");
    receive(request, wanted, &partial, &place, retry).await
}

/// The manifest's files, if it is valid.
fn check(
    files: &[ModelFile],
    limits: DownloadLimits,
) -> Result<Vec<(FilePath, Url, Wanted<'_>)>, DownloadError> {
    let refuse = DownloadError::Manifest;
    if files.len() > limits.max_files {
        return Err(refuse(format!(
            "{} files where {} are allowed",
            files.len(),
            limits.max_files
        )));
    }
    let bytes = files
        .iter()
        .try_fold(0u64, |sum, file| sum.checked_add(file.bytes));
    if bytes.is_none_or(|bytes| bytes > limits.max_bytes) {
        return Err(refuse(format!(
            "more than the {} bytes allowed",
            limits.max_bytes
        )));
    }
    let mut seen = BTreeSet::new();
    let checked = files.iter().map(|file| {
        let path: FilePath =
            (file.path.parse()).map_err(|error: InvalidName| refuse(error.to_string()))?;
        if !seen.insert(path.clone()) {
            return Err(refuse(format!("{path} is there twice")));
        }
        let Some(digest @ Digest::Sha256(_)) = Digest::from_etag(&file.sha256) else {
            return Err(refuse(format!("{path} has no sha256")));
        };
        let url = Url::parse(&file.url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| refuse(format!("{path} has no http or https URL")))?;
        let wanted = Wanted {
            name: &file.path,
            bytes: file.bytes,
            digest,
        };
        Ok((path, url, wanted))
    });
    let checked = checked.collect::<Result<Vec<_>, _>>()?;
    // A file where the other has a folder.
    let within = |path: &FilePath| {
        seen.iter()
            .any(|other| other.as_str().starts_with(&format!("{path}/")))
    };
    match checked.iter().find(|(path, _, _)| within(path)) {
        Some((path, _, _)) => Err(refuse(format!("{path} is a file and a folder"))),
        None => Ok(checked),
    }
}
