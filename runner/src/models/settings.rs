//! The digest of a checkpoint's settings.

use super::ModelError;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;

/// Larger files are weights, which the model's revision covers.
const MAX_BYTES: u64 = 64 << 20;

/// Digest of the files in a checkpoint's folder: the configuration of the model and the processor, the
/// vocabulary, the labels. What cannot be read is left out: the model has not been loaded from it.
pub(super) fn settings(dir: &Path) -> Result<String, ModelError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unread(dir))? {
        let path = entry.map_err(unread(dir))?.path();
        // Follows links, as the caches of hubs have them.
        let Ok(file) = fs::metadata(&path) else {
            continue;
        };
        if file.is_file() && file.len() <= MAX_BYTES {
            files.push(path);
        }
    }
    files.sort();
    let mut all = Sha256::new();
    for path in files {
        let Ok(bytes) = fs::read(&path) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digest = Sha256::digest(bytes);
        all.update(format!("{name} {}\n", hex::encode(digest)));
    }
    Ok(hex::encode(all.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_with_any_of_their_files_and_not_with_large_weights() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let mut seen = Vec::new();
        for (name, text) in [
            ("config.json", "{}"),
            ("config.json", "{\"a\": 1}"),
            ("preprocessor_config.json", "{}"),
            ("labels", "[PAD]"),
        ] {
            write(name, text);
            let now = settings(folder.path()).unwrap();
            assert!(!seen.contains(&now), "{name}");
            seen.push(now);
        }
        let weights = fs::File::create(folder.path().join("model.safetensors"));
        weights.unwrap().set_len(MAX_BYTES + 1).unwrap();
        fs::create_dir(folder.path().join("onnx")).unwrap();
        // Of a hub's cache whose file is gone.
        std::os::unix::fs::symlink("nowhere", folder.path().join("README.md")).unwrap();
        assert_eq!(seen.last(), Some(&settings(folder.path()).unwrap()));
        assert!(settings(&folder.path().join("nowhere")).is_err());
    }
}
