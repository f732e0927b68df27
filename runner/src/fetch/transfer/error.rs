//! What can go wrong with a file on its way.

use super::Digest;
use http::StatusCode;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No text here holds a URL's query: it may be a signature.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// An answer that trying again would not change.
    #[error("{host} answers {status}{}", said(message.as_deref()))]
    Status {
        host: String,
        status: StatusCode,
        /// The hub's word for it, such as `GatedRepo`.
        code: Option<String>,
        /// The server's own words.
        message: Option<String>,
    },
    /// The server is to be left alone for longer than we wait.
    #[error(
        "{host} asks to wait {} s (too many requests); try again then, a token in HF_TOKEN raises \
         the hub's limits",
        wait.as_secs()
    )]
    Throttled { host: String, wait: Duration },
    /// No answer, or one that breaks off.
    #[error("{host} cannot be read: {why}")]
    Transport { host: String, why: String },
    /// A redirect that is not followed.
    #[error("{host} answers with a redirect {why}")]
    Redirect {
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    #[error("given up after {tries} tries; what has come is kept, so try again. The last: {last}")]
    GivenUp {
        tries: u32,
        /// Why the last one failed.
        last: Box<TransferError>,
    },
    /// Another length than was announced.
    #[error("{name} has {found} bytes where {expected} were announced")]
    Length {
        name: String,
        expected: u64,
        /// Came, or is to come.
        found: u64,
    },
    /// Other bytes than were announced.
    #[error("{name} has the {found} where {expected} was announced; it was thrown away")]
    Digest {
        name: String,
        expected: Digest,
        found: Digest,
    },
    /// Larger than is allowed.
    #[error("{name} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        name: String,
        bytes: u64,
        limit: u64,
    },
    /// Somebody else brings the same file, and does not come to an end.
    #[error("another process has held {0} for too long; is it still running?")]
    Locked(PathBuf),
    #[error("{doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What the server said, in brackets.
fn said(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(" ({message})"))
}

/// Adds the action and the path to an I/O error; for `map_err`.
pub(in crate::fetch) fn io_error(
    doing: &'static str,
    path: &Path,
) -> impl Fn(std::io::Error) -> TransferError {
    move |source| TransferError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// An error and what caused it, in one line.
pub(in crate::fetch) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
