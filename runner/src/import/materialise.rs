//! Copies a checkpoint from the cache to a folder, with digests; the manifest marks it as complete.

use super::error::ImportError;
use super::manifest::{MANIFEST_FILE, Manifest, ManifestFile};
use super::names::{Commit, FilePath, RepoId};
use super::transfer::{TransferError, io_error, sha256_of_file};
use std::path::Path;

/// The manifest of the files in `snapshot`.
pub(super) fn manifest(
    repo: &RepoId,
    commit: &Commit,
    snapshot: &Path,
    files: &[FilePath],
) -> Result<Manifest, TransferError> {
    let described = files.iter().map(|path| {
        let place = snapshot.join(path.as_str());
        let error = io_error("reading", &place);
        Ok(ManifestFile {
            path: path.clone(),
            bytes: place.metadata().map_err(&error)?.len(),
            sha256: sha256_of_file(&place).map_err(&error)?,
        })
    });
    Ok(Manifest {
        repo: repo.clone(),
        commit: commit.clone(),
        files: described.collect::<Result<_, TransferError>>()?,
    })
}

/// Copies the manifest's files from `snapshot` to `dir`, and the manifest last.
pub(super) fn materialise(
    manifest: &Manifest,
    snapshot: &Path,
    dir: &Path,
) -> Result<(), ImportError> {
    let place = dir.join(MANIFEST_FILE);
    // While the files change, no manifest marks them as complete.
    match std::fs::remove_file(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error("removing", &place)(error).into());
        }
        _ => {}
    }
    for ManifestFile { path, sha256, .. } in &manifest.files {
        let place = dir.join(path.as_str());
        if sha256_of_file(&place).is_ok_and(|found| found == *sha256) {
            continue;
        }
        put(&place, |aside| {
            std::fs::copy(snapshot.join(path.as_str()), aside).map(drop)
        })?;
    }
    let text = manifest.text().map_err(std::io::Error::other);
    let text = text.map_err(io_error("writing", &place))?;
    put(&place, |aside| std::fs::write(aside, text))
}

/// Makes the file beside its place and renames it, so that it appears atomically.
fn put(place: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), ImportError> {
    let aside = place.with_added_extension("incomplete");
    let put = || {
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        make(&aside)?;
        std::fs::File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, place)
    };
    Ok(put().map_err(io_error("writing", place))?)
}
