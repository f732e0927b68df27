//! What a runner is told of a model's weights: every file with its digest, and a URL that reads it.

use super::provision::Weights;
use fovea_protocol::{ModelFile, ModelSource};
use fovea_store::{InvalidKey, ObjectKey, Store, StoreError};
use serde::Deserialize;
use std::time::Duration;

/// Lies beside a checkpoint's files and lists them; `fovea-runner fetch` writes it last.
pub const MANIFEST_FILE: &str = "fovea-manifest.json";

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// Most files of a checkpoint: a request that names them stays below what a runner reads.
const MAX_FILES: usize = 64;

/// How long the URLs are good: a runner that fetches for longer is told anew.
const LIFETIME: Duration = Duration::from_hours(6);

/// Why a runner cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The manifest cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// It names what is no key.
    #[error("{MANIFEST_FILE} of {prefix}: {source}")]
    Key {
        /// The checkpoint's folder.
        prefix: String,
        /// What is wrong.
        source: InvalidKey,
    },
    /// It is no manifest.
    #[error("{MANIFEST_FILE} of {prefix} is not what `fovea-runner fetch` writes: {why}")]
    Manifest {
        /// The checkpoint's folder.
        prefix: String,
        /// What is wrong.
        why: String,
    },
}

/// As far as it is of use here.
#[derive(Deserialize)]
struct Manifest {
    files: Vec<ManifestFile>,
}

#[derive(Deserialize)]
struct ManifestFile {
    path: String,
    bytes: u64,
    sha256: String,
}

/// Reads the manifest and signs for its files.
pub async fn source(store: &Store, weights: &Weights) -> Result<ModelSource, WeightsError> {
    let (prefix, revision) = match weights {
        Weights::Volume(path) => return Ok(ModelSource::Path(path.clone())),
        Weights::Bucket { prefix, revision } => (prefix, revision),
    };
    let key = |file: &str| {
        ObjectKey::weights(prefix, file).map_err(|source| WeightsError::Key {
            prefix: prefix.clone(),
            source,
        })
    };
    let wrong = |why: String| WeightsError::Manifest {
        prefix: prefix.clone(),
        why,
    };
    let text = store.get(&key(MANIFEST_FILE)?, MAX_MANIFEST_BYTES).await?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.files.is_empty() || manifest.files.len() > MAX_FILES {
        let count = manifest.files.len();
        return Err(wrong(format!(
            "it lists {count} files, not 1 to {MAX_FILES}"
        )));
    }
    let mut files = Vec::with_capacity(manifest.files.len());
    for ManifestFile {
        path,
        bytes,
        sha256,
    } in manifest.files
    {
        let url = store.presign_get(&key(&path)?, LIFETIME).await?;
        files.push(ModelFile {
            path,
            url,
            bytes,
            sha256,
        });
    }
    Ok(ModelSource::Files {
        revision: revision.clone(),
        files,
    })
}
