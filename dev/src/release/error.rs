//! Why there is no release.

use std::fmt::Display;
use std::io;

use fovea_harness::images::ImageError;
use fovea_setup::SetupError;
use fovea_setup::cache::CacheError;

/// A release could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A program that was run, or the tools.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What is built is not what the commit says.
    #[error(
        "a release is of a commit, and here are changes that are not committed: commit them, or try \
         with TRIAL=1\n{changes}"
    )]
    Uncommitted {
        /// As `git status --short` says it.
        changes: String,
    },
    /// The changelog's newest version is not the one that is built.
    #[error(
        "CHANGELOG.md begins with version {found:?}, and Cargo.toml says {}",
        super::VERSION
    )]
    Changelog {
        /// The newest heading's.
        found: String,
    },
    /// The version has no day yet.
    #[error(
        "CHANGELOG.md does not say when {} was released: write the day (2026-01-31) beside the \
         version and commit, or try with TRIAL=1",
        super::VERSION
    )]
    Undated,
    /// A file of ours has not what this looks for.
    #[error("{file}: {what}")]
    Unexpected {
        /// The file.
        file: String,
        /// What is missing.
        what: String,
    },
    /// The finished folder is not right.
    #[error("the release is not right:\n{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// A file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
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
