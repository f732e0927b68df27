//! Imports checkpoints: from the Hugging Face hub into a cache, a folder or the bucket (subcommand
//! `fetch`), and from presigned URLs into a serving runner's cache. Pictures are fetched elsewhere, in
//! `server::fetch`.
//!
//! The hub's client crate, hf-hub 1.0, is not suitable: it enables reqwest's default TLS, aws-lc, but
//! this workspace uses only `ring`; it adds the Xet protocol with a database; and it neither resumes
//! a download nor checks a digest.
//!
//! How an import flows: `hub` resolves the revision and lists the files; `choose` selects the
//! needed ones; `transfer` downloads each into `cache`, which has the layout of the hub's own tools; then
//! they are copied to `--to` (`materialise`) or sent to the bucket (`upload`), with a `manifest` of
//! their digests. A serving runner uses `download` alone.

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

pub use choose::NothingToImport;
pub use config::{HubSettings, ImportConfig};
pub use download::{DownloadError, DownloadLimits, download};
pub use error::ImportError;
pub use manifest::{MANIFEST_FILE, Manifest, ManifestFile};
pub use names::{Commit, FilePath, InvalidName, RepoId, Revision};
pub use run::{Imported, run};
pub use transfer::{Digest, Retry, TransferError};
