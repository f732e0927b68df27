//! The hub client's cache on disk, shared with Python's tools.
//!
//! ```text
//! models--<owner>--<name>/refs/<revision>             the commit, in hexadecimal digits
//! models--<owner>--<name>/snapshots/<commit>/<file>   -> ../../blobs/<etag>
//! models--<owner>--<name>/blobs/<etag>                named by its digest
//! .locks/models--<owner>--<name>/<etag>.lock
//! ```
//!
//! Reference: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use super::error::ImportError;
use super::hub::FileInfo;
use super::names::{Commit, FilePath, RepoId, Revision};
use super::transfer::{Lock, TransferError, io_error};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(super) struct RepoCache {
    cache: PathBuf,
    folder_name: String,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &RepoId) -> Self {
        Self {
            cache: cache.to_owned(),
            folder_name: format!("models--{}--{}", repo.owner(), repo.name()),
        }
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(&self.folder_name)
    }

    /// Folder of a commit's files, under their own names.
    pub(super) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.folder().join("snapshots").join(commit.to_string())
    }

    /// Paths of a file's bytes: complete, and while downloading.
    pub(super) fn blob(&self, info: &FileInfo) -> [PathBuf; 2] {
        let name = info.digest.hex();
        let blobs = self.folder().join("blobs");
        [blobs.join(name), blobs.join(format!("{name}.incomplete"))]
    }

    /// Held while this file is downloaded.
    pub(super) async fn lock(&self, info: &FileInfo) -> Result<Lock, TransferError> {
        let locks = self.cache.join(".locks").join(&self.folder_name);
        Lock::take(&locks.join(format!("{}.lock", info.digest.hex()))).await
    }

    /// Whether the complete file exists. Its length suffices: a blob gets its name, the digest, only
    /// after verification.
    pub(super) fn has(&self, info: &FileInfo) -> bool {
        let [blob, _] = self.blob(info);
        blob.metadata().is_ok_and(|found| found.len() == info.bytes)
    }

    /// Links the file under its own name in the commit's snapshot.
    pub(super) fn link(
        &self,
        commit: &Commit,
        file: &FilePath,
        info: &FileInfo,
    ) -> Result<(), TransferError> {
        let link = self.snapshot(commit).join(file.as_str());
        let up = "../".repeat(file.as_str().matches('/').count() + 2);
        let target = PathBuf::from(format!("{up}blobs/{}", info.digest.hex()));
        if std::fs::read_link(&link).is_ok_and(|there| there == target) {
            return Ok(());
        }
        create_atomically(&link, |aside| symlink(&target, aside))
    }

    /// Stores the commit of the revision, unless it is a commit itself.
    pub(super) fn store_commit(
        &self,
        revision: &Revision,
        commit: &Commit,
    ) -> Result<(), TransferError> {
        if revision.commit().is_some() {
            return Ok(());
        }
        let place = self.folder().join("refs").join(revision.as_str());
        create_atomically(&place, |aside| std::fs::write(aside, commit.to_string()))
    }

    /// The commit of the revision when it was last resolved, and the names of its files.
    pub(super) fn cached(&self, revision: &Revision) -> Result<(Commit, Vec<String>), ImportError> {
        let missing = |what: String| ImportError::NotCached {
            what,
            cache: self.cache.clone(),
        };
        let stored = || {
            let text = std::fs::read_to_string(self.folder().join("refs").join(revision.as_str()));
            text.ok()?.trim().parse().ok()
        };
        let commit: Commit = (revision.commit())
            .or_else(stored)
            .ok_or_else(|| missing(format!("{} at {}", self.folder_name, revision.as_str())))?;
        let snapshot = self.snapshot(&commit);
        let entries = std::fs::read_dir(&snapshot);
        let entries = entries.map_err(|_| missing(format!("{} at {commit}", self.folder_name)))?;
        // A link without its blob does not count.
        let names = entries.flatten().filter(|entry| entry.path().is_file());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        Ok((commit, names.collect()))
    }
}

/// Makes a small file or a link beside `place` and renames it, so that it appears atomically.
fn create_atomically(
    place: &Path,
    make: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), TransferError> {
    let aside = place.with_added_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let create = || {
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        make(&aside)?;
        std::fs::rename(&aside, place)
    };
    create().map_err(io_error("writing", place))
}
