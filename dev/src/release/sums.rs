//! SHA256SUMS, written and read as `sha256sum` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use fovea_setup::run_command;

use super::{ReleaseError, files_below, read};

const NAME: &str = "SHA256SUMS";

/// Writes the sums of all files in the folder.
pub(super) fn write(folder: &Path) -> Result<(), ReleaseError> {
    super::write(&folder.join(NAME), &sums(folder)?)
}

/// Files that were changed or added since [`write`], then those that are missing.
pub(super) fn faults(folder: &Path) -> Result<Vec<String>, ReleaseError> {
    let (listed, found) = (read(&folder.join(NAME))?, sums(folder)?);
    let mut listed = by_name(&listed);
    let mut faults = Vec::new();
    for (name, sum) in by_name(&found) {
        match listed.remove(name) {
            Some(expected) if expected == sum => {}
            Some(_) => faults.push(format!("{name} is not what {NAME} says")),
            None => faults.push(format!("{name} is not in {NAME}")),
        }
    }
    faults.extend(listed.keys().map(|name| format!("{name} is not there")));
    Ok(faults)
}

fn by_name(sums: &str) -> BTreeMap<&str, &str> {
    let lines = sums.lines().filter_map(|line| line.split_once("  "));
    lines.map(|(sum, name)| (name, sum)).collect()
}

fn sums(folder: &Path) -> Result<String, ReleaseError> {
    let files = files_below(folder)?;
    let names = (files.iter()).filter_map(|file| file.strip_prefix(folder).ok());
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.args(names.filter(|name| *name != Path::new(NAME)));
    sha256sum.current_dir(folder);
    Ok(run_command("computing the checksums", &mut sha256sum)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn release() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("chart"), "chart").unwrap();
        fs::write(folder.path().join("image"), "image").unwrap();
        write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn files_match_the_sums_just_written() {
        assert!(faults(release().path()).unwrap().is_empty());
    }

    #[test]
    fn a_changed_added_or_missing_file_is_named() {
        let folder = release();
        fs::write(folder.path().join("image"), "another").unwrap();
        fs::remove_file(folder.path().join("chart")).unwrap();
        fs::write(folder.path().join("more"), "").unwrap();
        let faults = faults(folder.path()).unwrap();
        assert_eq!(
            faults,
            [
                "image is not what SHA256SUMS says",
                "more is not in SHA256SUMS",
                "chart is not there"
            ]
        );
    }

    #[test]
    fn sha256sum_accepts_the_sums() {
        let folder = release();
        let checked = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", NAME])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}
