//! Errors of a release.

use std::fmt::Display;
use std::io;

use fovea_harness::images::ImageError;
use fovea_setup::SetupError;
use fovea_setup::cache::CacheError;

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(
        "a release is of a commit, and here are changes that are not committed: commit them, or try \
         with TRIAL=1\n{changes}"
    )]
    Uncommitted {
        /// Output of `git status --short`.
        changes: String,
    },
    /// The changelog's newest version is not the one that is built.
    #[error(
        "CHANGELOG.md begins with version {found:?}, and Cargo.toml says {}",
        super::VERSION
    )]
    Changelog {
        /// Version of the newest heading.
        found: String,
    },
    #[error(
        "CHANGELOG.md does not say when {} was released: write the day (2026-01-31) beside the \
         version and commit, or try with TRIAL=1",
        super::VERSION
    )]
    Undated,
    #[error("{file}: {what}")]
    Unexpected { file: String, what: String },
    #[error("the release is not right:\n{}", .0.join("\n"))]
    Wrong(Vec<String>),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl ReleaseError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    pub(super) fn unexpected(file: impl Into<String>, what: &impl Display) -> Self {
        Self::Unexpected {
            file: file.into(),
            what: what.to_string(),
        }
    }
}
