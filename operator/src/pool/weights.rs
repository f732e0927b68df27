//! Where each model's weights are, and the request by which a runner loads them.
//!
//! Locating is pure ([`locate`]); a folder of the bucket is complete once it has a [`MANIFEST`], which
//! is uploaded last.

use super::build::{import_job::Import, volumes};
use super::published::Weights;
use fovea_crds::{ModelSource as Source, PoolModel, SecretRef};
use fovea_protocol::{ModelFile, ModelSource};
use fovea_store::{InvalidKey, ModelFolder, ObjectKey, Store, StoreError};
use serde::Deserialize;
use std::time::Duration;

/// Name of the file that lists a checkpoint's files; `fovea-runner fetch` writes it.
pub(crate) const MANIFEST: &str = "fovea-manifest.json";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Most files of a checkpoint, so that a request that names them all is within a runner's limit.
const MAX_FILES: usize = 64;
/// Validity of the URLs; a runner that takes longer gets new ones.
const LIFETIME: Duration = Duration::from_hours(6);

/// Why a checkpoint in the bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{0} has no {MANIFEST}; create the folder with `fovea-runner fetch OWNER/NAME --to DIR`, and upload all of it"
    )]
    NoManifest(String),
    #[error("{folder}{MANIFEST} is not a manifest of `fovea-runner fetch`: {why}")]
    BadManifest { folder: String, why: String },
    #[error("{0}")]
    Key(#[from] InvalidKey),
}

/// A revision of the hub and the commit that it was resolved to. The pool's status records it, so that
/// a branch that moves changes nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// `<repo>@<revision>`, as in the spec.
    pub source: String,
    /// 40 hexadecimal digits.
    pub commit: String,
}

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

/// Where a model's weights are, and the import that puts them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// `None` while the revision has not been resolved to a commit.
    pub weights: Option<Weights>,
    /// The import that uploads them, for a model of the hub.
    pub import: Option<Import>,
}

/// The location of a model's weights; `None` for a model without a source. `models`: all of its pool.
/// `commit`: the resolved revision, if it is known.
pub(crate) fn locate(
    models: &[PoolModel],
    model: &PoolModel,
    commit: Option<&str>,
) -> Option<Location> {
    let PoolModel {
        name: _,
        task: _,
        default: _,
        source,
        dtype: _,
        max_batch_size: _,
    } = model;
    Some(match source.as_ref()? {
        Source::Volume { .. } | Source::Image { .. } => Location {
            weights: volumes::path(models, model).map(Weights::Volume),
            import: None,
        },
        Source::Object { prefix } => Location {
            weights: Some(Weights::Bucket {
                prefix: ModelFolder::new(prefix).ok()?.as_str().to_owned(),
                revision: prefix.clone(),
            }),
            import: None,
        },
        Source::HuggingFace {
            repo,
            revision,
            token_secret_ref,
        } => {
            let commit = commit.or(Some(revision)).filter(|text| is_commit(text));
            let bucket = |commit: &str| {
                Some(Weights::Bucket {
                    prefix: ModelFolder::new(&format!("{repo}/{commit}"))
                        .ok()?
                        .as_str()
                        .to_owned(),
                    revision: format!("{repo}@{commit}"),
                })
            };
            let secret = |SecretRef { name }: &SecretRef| name.clone();
            Location {
                weights: commit.and_then(bucket),
                import: Some(Import {
                    repo: repo.clone(),
                    // A resolved revision is not resolved again if it is imported again.
                    revision: commit.unwrap_or(revision).to_owned(),
                    token_secret: token_secret_ref.as_ref().map(secret),
                }),
            }
        }
    })
}

/// Whether `text` is a commit's full hash, which is always the same files, unlike a branch or tag.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks that a checkpoint is complete. Only its owner can fix an error, unless that is
/// [`WeightsError::Store`].
pub(crate) async fn check(store: &Store, prefix: &str) -> Result<(), WeightsError> {
    let folder = ModelFolder::parse(prefix)?;
    manifest(store, &folder).await.map(|_| ())
}

/// The source that a runner loads: every file with its digest and a presigned URL.
pub(crate) async fn source(store: &Store, weights: &Weights) -> Result<ModelSource, WeightsError> {
    let (prefix, revision) = match weights {
        Weights::Volume(path) => return Ok(ModelSource::Path(path.clone())),
        Weights::Bucket { prefix, revision } => (prefix, revision),
    };
    let folder = ModelFolder::parse(prefix)?;
    let mut files = Vec::new();
    for (key, file) in manifest(store, &folder).await? {
        let ManifestFile {
            path,
            bytes,
            sha256,
        } = file;
        files.push(ModelFile {
            url: store.presign_get(&key, LIFETIME).await?,
            path,
            bytes,
            sha256,
        });
    }
    Ok(ModelSource::Files {
        revision: revision.clone(),
        files,
    })
}

async fn manifest(
    store: &Store,
    folder: &ModelFolder,
) -> Result<Vec<(ObjectKey, ManifestFile)>, WeightsError> {
    let key = ObjectKey::in_folder(folder, MANIFEST)?;
    let bytes = match store.get(&key, MAX_MANIFEST_BYTES).await {
        Err(StoreError::NotFound { .. }) => {
            return Err(WeightsError::NoManifest(folder.as_str().to_owned()));
        }
        read => read?,
    };
    files(folder, &bytes)
}

/// The files that a manifest lists, each with its key inside the folder.
fn files(
    folder: &ModelFolder,
    manifest: &[u8],
) -> Result<Vec<(ObjectKey, ManifestFile)>, WeightsError> {
    let bad = |why: String| WeightsError::BadManifest {
        folder: folder.as_str().to_owned(),
        why,
    };
    let Manifest { files } =
        serde_json::from_slice(manifest).map_err(|error| bad(error.to_string()))?;
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(bad(format!(
            "it lists {} files, not 1 to {MAX_FILES}",
            files.len()
        )));
    }
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let keyed = files.into_iter().map(|file| {
        if file.sha256.len() != 64 || !file.sha256.bytes().all(digit) {
            return Err(bad(format!(
                "{} does not have a SHA-256 of 64 digits",
                file.path
            )));
        }
        let key =
            ObjectKey::in_folder(folder, &file.path).map_err(|error| bad(error.to_string()))?;
        Ok((key, file))
    });
    keyed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";

    fn placed(source: &Value, commit: Option<&str>) -> Location {
        let model = json!({"name": "m", "task": "image-to-text", "source": source});
        let model: PoolModel = serde_json::from_value(model).unwrap();
        locate(std::slice::from_ref(&model), &model, commit).unwrap()
    }

    #[test]
    fn a_commit_of_the_hub_is_a_folder_of_the_bucket_and_can_be_imported() {
        let source = json!({"huggingFace": {"repo": "o/n", "revision": COMMIT}});
        let Location { weights, import } = placed(&source, None);
        let expected = Weights::Bucket {
            prefix: format!("models/o/n/{COMMIT}/"),
            revision: format!("o/n@{COMMIT}"),
        };
        assert_eq!(weights, Some(expected));
        assert_eq!(import.unwrap().revision, COMMIT);
    }

    #[test]
    fn a_branch_has_no_weights_until_it_is_resolved_and_keeps_its_commit() {
        let source = json!({"huggingFace": {"repo": "o/n", "tokenSecretRef": {"name": "hub"}}});
        let Location { weights, import } = placed(&source, None);
        assert_eq!(weights, None);
        let import = import.unwrap();
        assert_eq!(
            (import.revision.as_str(), import.token_secret.as_deref()),
            ("main", Some("hub"))
        );
        let pinned = placed(&source, Some(COMMIT));
        assert_eq!(pinned.import.unwrap().revision, COMMIT);
        assert!(
            matches!(pinned.weights.unwrap(), Weights::Bucket { revision, .. } if revision == format!("o/n@{COMMIT}"))
        );
        assert_eq!(placed(&source, Some("../../uploads")).weights, None);
    }

    #[test]
    fn objects_volumes_and_images_are_never_imported() {
        let object = placed(&json!({"object": {"prefix": "my/model"}}), None);
        let expected = Weights::Bucket {
            prefix: "models/my/model/".to_owned(),
            revision: "my/model".to_owned(),
        };
        assert_eq!((object.weights, object.import), (Some(expected), None));
        let volume = placed(&json!({"volume": {"path": "blip"}}), None);
        assert_eq!(
            (volume.weights, volume.import),
            (Some(Weights::Volume("blip".into())), None)
        );
        let image = placed(
            &json!({"image": {"reference": "r/blip:1", "path": "models"}}),
            None,
        );
        assert_eq!(
            (image.weights, image.import),
            (Some(Weights::Volume("images/m/models".into())), None)
        );
    }

    fn file(path: &str, bytes: i64, sha256: &str) -> Value {
        json!({"path": path, "bytes": bytes, "sha256": sha256})
    }

    fn listed(files: &Value) -> Result<Vec<String>, String> {
        let folder = ModelFolder::new("o/n").unwrap();
        let manifest = json!({"repo": "o/n", "commit": COMMIT, "files": files}).to_string();
        let keys = super::files(&folder, manifest.as_bytes()).map_err(|error| error.to_string())?;
        Ok(keys.iter().map(|(key, _)| key.to_string()).collect())
    }

    #[test]
    fn a_manifest_s_files_are_in_its_folder() {
        let sha256 = "a".repeat(64);
        let good = json!([file("sub/config.json", 1, &sha256)]);
        assert_eq!(listed(&good).unwrap(), ["models/o/n/sub/config.json"]);
    }

    #[test]
    fn an_invalid_manifest_is_refused() {
        let sha256 = "a".repeat(64);
        for (files, word) in [
            (json!([]), "0 files"),
            (json!([file("../x", 1, &sha256)]), "segment"),
            (json!([file("/x", 1, &sha256)]), "segment"),
            (json!([file("x", 1, "a")]), "SHA-256"),
            (json!([file("x", -1, &sha256)]), "invalid value"),
        ] {
            let error = listed(&files).unwrap_err();
            assert!(
                error.contains(word) && error.contains("models/o/n/"),
                "{error}"
            );
        }
        let many: Vec<Value> = (0..=MAX_FILES)
            .map(|number| file(&number.to_string(), 1, &sha256))
            .collect();
        assert!(listed(&json!(many)).unwrap_err().contains("65 files"));
    }
}
