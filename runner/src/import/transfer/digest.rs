//! The expected digest of a file.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Bytes read and hashed per step.
const CHUNK_BYTES: usize = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the file, in hexadecimal digits.
    Sha256(String),
    /// What git calls a blob: SHA-1 of `blob <length>`, a zero byte and the file.
    GitBlob(String),
}

impl Digest {
    /// Parses the hub's `ETag` of a file: 64 hexadecimal digits for one in large-file
    /// storage, 40 for one in git.
    pub fn from_etag(etag: &str) -> Option<Self> {
        let lower_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if !etag.chars().all(lower_hex) {
            return None;
        }
        match etag.len() {
            64 => Some(Self::Sha256(etag.to_owned())),
            40 => Some(Self::GitBlob(etag.to_owned())),
            _ => None,
        }
    }

    /// Lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    /// Computes the same kind of digest of the file at `path`.
    pub(in crate::import) fn of_file(&self, path: &Path) -> std::io::Result<Self> {
        match self {
            Self::Sha256(_) => sha256_of_file(path).map(Self::Sha256),
            Self::GitBlob(_) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {}\0", path.metadata()?.len()));
                each_chunk(path, |chunk| hasher.update(chunk))?;
                Ok(Self::GitBlob(hex::encode(hasher.finalize())))
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "sha256 {hex}"),
            Self::GitBlob(hex) => write!(f, "git blob {hex}"),
        }
    }
}

/// SHA-256 of the file at `path`, in hexadecimal digits.
pub(in crate::import) fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    each_chunk(path, |chunk| hasher.update(chunk))?;
    Ok(hex::encode(hasher.finalize()))
}

fn each_chunk(path: &Path, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => take(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_gits_and_the_hubs_own_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        // From `git hash-object` and `sha256sum`.
        for etag in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let digest = Digest::from_etag(etag).unwrap();
            assert_eq!(digest.of_file(file.path()).unwrap(), digest);
        }
        for none in ["", "abc", &"g".repeat(40), &"A".repeat(64)] {
            assert_eq!(Digest::from_etag(none), None);
        }
    }
}
