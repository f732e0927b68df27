//! SHA256SUMS, as `sha256sum --check` reads it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{ReleaseError, read};

const NAME: &str = "SHA256SUMS";

/// How much of a file is read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the sums of all that the folder has.
pub(super) fn write(folder: &Path) -> Result<(), ReleaseError> {
    let sums = sums(folder)?;
    let lines = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n"));
    super::write(&folder.join(NAME), &lines.collect::<String>())
}

/// What does not match: a file that was changed, or has no sum, or is not there.
pub(super) fn faults(folder: &Path) -> Result<Vec<String>, ReleaseError> {
    let text = read(&folder.join(NAME))?;
    let mut told: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    let mut faults = Vec::new();
    for (name, sum) in sums(folder)? {
        match told.remove(name.as_str()) {
            Some(expected) if expected == sum => {}
            Some(_) => faults.push(format!("{name} is not what {NAME} says")),
            None => faults.push(format!("{name} is not in {NAME}")),
        }
    }
    faults.extend(told.keys().map(|name| format!("{name} is not there")));
    Ok(faults)
}

fn sums(folder: &Path) -> Result<BTreeMap<String, String>, ReleaseError> {
    let io = |error| ReleaseError::io(format!("adding up {}", folder.display()))(error);
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != NAME {
            sums.insert(name, sum(&entry.path()).map_err(io)?);
        }
    }
    Ok(sums)
}

fn sum(path: &Path) -> std::io::Result<String> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let mut hasher = Sha256::new();
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(bytes);
        let taken = bytes.len();
        file.consume(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("chart"), "chart").unwrap();
        fs::write(folder.path().join("image"), "image").unwrap();
        write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn what_was_just_added_up_is_right() {
        assert!(faults(release().path()).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_was_changed_added_or_lost_is_named() {
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
    fn the_sums_are_those_of_sha256sum() {
        let folder = release();
        let checked = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", NAME])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}
