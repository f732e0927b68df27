//! Positional reads with a small buffer.

use super::WeightsError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Read at once. Two bounds of others lie above it, and a piece that exceeds either costs much:
/// glibc maps allocations from 128 KiB on for themselves, but raises that bound with each such that
/// is freed, and tensors come to lie in a heap full of gaps (with pieces of 4 MiB, BLIP-base took
/// 1.20 to 1.25 of its weights, now 1.01); and libtorch wakes its threads for 32,768 elements and
/// more.
const CHUNK_BYTES: usize = 32 * 1024;

/// An open file of known length.
#[derive(Debug)]
pub(super) struct DataFile {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl DataFile {
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let read_error = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_error)?;
        let bytes = file.metadata().map_err(read_error)?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from `offset` on.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), WeightsError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| WeightsError::Read {
                path: self.path.clone(),
                source,
            })
    }

    /// `length` bytes from `offset` on, which the caller has bounded.
    pub(super) fn bytes_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, WeightsError> {
        let mut buffer = vec![0; length];
        self.read_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Passes `length` bytes from `offset` on to `take` in chunks. Each chunk but the last
    /// has a whole number of elements of any type.
    pub(super) fn chunks(
        &self,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), WeightsError> {
        let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(length).unwrap_or(CHUNK_BYTES))];
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let chunk = (end - at).min(CHUNK_BYTES as u64);
            let buffer = &mut buffer[..usize::try_from(chunk).unwrap_or(CHUNK_BYTES)];
            self.read_at(buffer, at)?;
            take(buffer);
            at += chunk;
        }
        Ok(())
    }
}
