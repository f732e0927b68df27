//! `fovea-manifest.json`: what a checkpoint's folder holds, and by which digests.

use super::names::{Commit, FilePath, RepoId};
use serde::{Deserialize, Serialize};

/// Lies beside the files, and is written last: where it is there, all are.
pub const MANIFEST_FILE: &str = "fovea-manifest.json";

/// One checkpoint of the hub.
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
    /// As it is written, one file a line.
    pub(super) fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
