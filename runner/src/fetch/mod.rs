//! Bringing checkpoints: from the Hugging Face hub into a cache, a folder or the bucket (the
//! subcommand `fetch`, which a person runs), and from presigned URLs into a serving runner's cache.
//!
//! The hub's own client crate, hf-hub 1.0, does not serve: it turns on reqwest's default TLS,
//! which is aws-lc where this workspace has one provider, `ring`; it brings the Xet protocol with a
//! database; and it neither resumes a download nor checks a digest, which is what is wanted of it.
//!
//! How an import flows: [`hub`](self) resolves the revision and lists the files; [`choose`](self)
//! says which are wanted; each comes into the hub's own cache layout, so that Python's tools find
//! it there; then they are copied to `--to` or sent to the bucket, with a manifest of digests.

mod cache;
mod choose;
mod config;
mod download;
mod error;
mod hub;
mod manifest;
mod materialise;
mod names;
mod run;
mod transfer;
mod upload;

pub use choose::NothingToFetch;
pub use config::{FetchConfig, HubSettings};
pub use download::{DownloadError, DownloadLimits, download};
pub use error::FetchError;
pub use manifest::{MANIFEST_FILE, Manifest, ManifestFile};
pub use names::{Commit, FilePath, InvalidName, RepoId, Revision};
pub use run::{Fetched, run};
pub use transfer::{Digest, Retry, TransferError};
