//! The hub's own cache on disk, so that Python's tools and this one use each other's downloads.
//!
//! ```text
//! models--<owner>--<name>/refs/<revision>             the commit, in hexadecimal digits
//! models--<owner>--<name>/snapshots/<commit>/<file>   -> ../../blobs/<etag>
//! models--<owner>--<name>/blobs/<etag>                named by its digest
//! .locks/models--<owner>--<name>/<etag>.lock
//! ```
//!
//! Reference: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use super::error::FetchError;
use super::hub::FileInfo;
use super::names::{Commit, FilePath, RepoId, Revision};
use super::transfer::{Lock, TransferError, io_error};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// One repository's part of the cache.
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

    /// The files of a commit, by their own names.
    pub(super) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.folder().join("snapshots").join(commit.to_string())
    }

    /// Where a file's bytes come to lie, and where they gather before.
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

    /// Whether the file is there whole, by its length: its name is its digest, and a blob gets it
    /// only when it was checked.
    pub(super) fn has(&self, info: &FileInfo) -> bool {
        let [blob, _] = self.blob(info);
        blob.metadata().is_ok_and(|found| found.len() == info.bytes)
    }

    /// Shows the file under its own name in the commit's snapshot.
    pub(super) fn show(
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
        put_aside(&link, |aside| symlink(&target, aside))
    }

    /// Notes which commit the revision is.
    pub(super) fn note(&self, revision: &Revision, commit: &Commit) -> Result<(), TransferError> {
        if revision.commit().is_some() {
            return Ok(());
        }
        let place = self.folder().join("refs").join(revision.as_str());
        put_aside(&place, |aside| std::fs::write(aside, commit.to_string()))
    }

    /// The commit of the revision when it was last resolved, and the names of its files.
    pub(super) fn cached(&self, revision: &Revision) -> Result<(Commit, Vec<String>), FetchError> {
        let missing = |what: String| FetchError::NotCached {
            what,
            cache: self.cache.clone(),
        };
        let noted = || {
            let text = std::fs::read_to_string(self.folder().join("refs").join(revision.as_str()));
            text.ok()?.trim().parse().ok()
        };
        let commit: Commit = (revision.commit())
            .or_else(noted)
            .ok_or_else(|| missing(format!("{} at {}", self.folder_name, revision.as_str())))?;
        let snapshot = self.snapshot(&commit);
        let entries = std::fs::read_dir(&snapshot);
        let entries = entries.map_err(|_| missing(format!("{} at {commit}", self.folder_name)))?;
        // A link whose blob is gone is not there.
        let names = entries.flatten().filter(|entry| entry.path().is_file());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        Ok((commit, names.collect()))
    }
}

/// Makes a small file or a link beside its place, and then puts it there in one step.
fn put_aside(
    place: &Path,
    make: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), TransferError> {
    let aside = place.with_added_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let put = || {
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        make(&aside)?;
        std::fs::rename(&aside, place)
    };
    put().map_err(io_error("writing", place))
}
