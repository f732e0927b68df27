//! Errors of a file transfer.

use super::Digest;
use http::StatusCode;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The messages omit URL queries, which may hold a signature.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A status that a retry would not change.
    #[error("{host} answers {status}{}", said(message.as_deref()))]
    Status {
        host: String,
        status: StatusCode,
        /// The hub's error code, such as `GatedRepo`.
        code: Option<String>,
        message: Option<String>,
    },
    /// `Retry-After` exceeds the bound in [`Retry`](super::Retry).
    #[error(
        "{host} asks to wait {} s (too many requests); try again later; a token in HF_TOKEN \
         raises the hub's limits",
        wait.as_secs()
    )]
    Throttled { host: String, wait: Duration },
    /// No response, or one that breaks off.
    #[error("{host} cannot be read: {why}")]
    Transport { host: String, why: String },
    #[error(
        "{host} has a certificate that is not trusted ({why}); name its authority: of the hub by --hub-ca-file, \
         in a cluster by runner.hub.caSecret; of the store by --s3-ca-file, or by objectStore.caSecret"
    )]
    Untrusted { host: String, why: String },
    /// A redirect that is not followed.
    #[error("{host} answers with a redirect {why}")]
    Redirect { host: String, why: &'static str },
    #[error(
        "gave up after {tries} tries; partial files are kept, so run it again. Last error: {last}"
    )]
    GivenUp {
        tries: u32,
        /// Why the last one failed.
        last: Box<TransferError>,
    },
    #[error("{name} has {found} bytes, but {expected} were expected")]
    Length {
        name: String,
        expected: u64,
        /// Received or announced, in bytes.
        found: u64,
    },
    #[error("{name} has the {found}, but {expected} was expected; it was deleted")]
    Digest {
        name: String,
        expected: Digest,
        found: Digest,
    },
    #[error("{name} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        name: String,
        bytes: u64,
        limit: u64,
    },
    /// Another process downloads the same file and does not finish.
    #[error("another process has held {0} for too long; is it still running?")]
    Locked(PathBuf),
    #[error("{doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The server's message, in brackets.
fn said(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(" ({message})"))
}

/// Adds the action and the path to an I/O error; for `map_err`.
pub(in crate::import) fn io_error(
    doing: &'static str,
    path: &Path,
) -> impl Fn(std::io::Error) -> TransferError {
    move |source| TransferError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Formats an error and its causes as one line.
pub(in crate::import) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
