//! `fovea-manifest.json`: the files of a checkpoint's folder, and their digests.

use super::names::{Commit, FilePath, RepoId};
use serde::{Deserialize, Serialize};

/// Written last, beside the files: if it exists, they are complete.
pub const MANIFEST_FILE: &str = "fovea-manifest.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub repo: RepoId,
    pub commit: Commit,
    /// Every file but the manifest itself.
    pub files: Vec<ManifestFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the checkpoint's folder.
    pub path: FilePath,
    pub bytes: u64,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// JSON with one file per line.
    pub(super) fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
