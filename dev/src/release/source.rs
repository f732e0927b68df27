//! The released commit, in a separate folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ReleaseError;
use fovea_setup::run_command;

/// A commit's files, as far as they were committed.
pub(super) struct Source {
    pub(super) root: PathBuf,
    /// The commit; with `-dirty` where the binaries may have more in them.
    pub(super) revision: String,
    /// The commit's time: what is made from it says that it was made then.
    pub(super) epoch_seconds: u64,
}

impl Source {
    /// Copies the commit that is checked out to `root`.
    pub(super) fn of_head(root: &Path, trial: bool) -> Result<Self, ReleaseError> {
        let changes = git("looking for changes", &["status", "--short"])?;
        if !changes.is_empty() && !trial {
            return Err(ReleaseError::Uncommitted { changes });
        }
        let commit = git("looking for the commit", &["rev-parse", "HEAD"])?;
        let time = git(
            "looking for the commit's time",
            &["log", "-1", "--format=%ct"],
        )?;
        let epoch_seconds = time
            .parse()
            .map_err(|_| ReleaseError::unexpected("git log", &format!("no time: {time:?}")))?;
        fs::create_dir_all(root).map_err(ReleaseError::io("creating the source's folder"))?;
        let archive = root.with_extension("tar");
        let to = format!("--output={}", archive.display());
        git("copying the commit", &["archive", &to, "HEAD"])?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&archive).arg("-C").arg(root);
        run_command("copying the commit", &mut unpack)?;
        fs::remove_file(&archive).map_err(ReleaseError::io("tidying up"))?;
        let mark = if changes.is_empty() { "" } else { "-dirty" };
        Ok(Self {
            root: root.to_path_buf(),
            revision: commit + mark,
            epoch_seconds,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn git(what: &str, arguments: &[&str]) -> Result<String, ReleaseError> {
    let mut git = Command::new("git");
    let text = run_command(what, git.args(arguments))?;
    Ok(text.trim_end().to_owned())
}
