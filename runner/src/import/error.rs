//! Errors of an import: each says why the checkpoint could not be downloaded.

use super::choose::NothingToImport;
use super::transfer::TransferError;
use fovea_trust::AuthoritiesError;
use http::StatusCode;
use std::path::PathBuf;

/// Each message says what the user can do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An environment variable is invalid.
    #[error("{name}: {why}")]
    Setting { name: &'static str, why: String },
    /// The account has not accepted the repository's terms.
    #[error(
        "{repo} is gated: accept its terms on its page on the hub, and set HF_TOKEN to a token of \
         the account that did"
    )]
    Gated { repo: String },
    /// The repository does not exist, or the token may not read it.
    #[error(
        "the hub answers 401 for {repo}: it does not exist, or it is private; check the name, and \
         {}", if *with_token { "whether the token in HF_TOKEN may read it" } else { "set HF_TOKEN" }
    )]
    Unauthorized {
        repo: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The token lacks the permission.
    #[error("the hub refuses {repo} (403): check what the token in HF_TOKEN may read")]
    Forbidden { repo: String },
    #[error("the hub has no {what} of {repo}; check the name and --revision")]
    NotFound { what: String, repo: String },
    /// The endpoint does not behave like a hub.
    #[error("{endpoint} does not answer as a Hugging Face hub does ({why}); check HF_ENDPOINT")]
    NoHub { endpoint: String, why: String },
    /// The repository has no files that a runner can use.
    #[error("{repo}: {why}")]
    NothingToImport { repo: String, why: NothingToImport },
    /// Offline, and not in the cache.
    #[error(
        "HF_HUB_OFFLINE is set, and {what} is not in the cache {cache}; fetch it once without \
         HF_HUB_OFFLINE, or set HF_HOME to where it lies"
    )]
    NotCached { what: String, cache: PathBuf },
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("cannot make an HTTP client: {0}")]
    Client(fovea_proxy::ClientError),
    #[error("{flag} {error}")]
    Authorities {
        flag: &'static str,
        error: AuthoritiesError,
    },
    #[error("{path} is not a presigned POST form ({why}); it must be JSON {{\"url\", \"fields\"}}")]
    Form { path: PathBuf, why: String },
    #[error(
        "the bucket refuses {file} ({status}: {why}); has the form expired, or is it for another model?"
    )]
    Refused {
        file: String,
        status: StatusCode,
        why: String,
    },
}
