//! The ends of logs, for error messages.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use fovea_setup::text::tail;

/// Upper bound on the bytes that are read from a log's end.
const TAIL_BYTES: u64 = 16 * 1024;

/// The last `lines` lines of the file at `path`; empty if there is no such file.
pub(crate) fn tail_of_file(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    tail(&String::from_utf8_lossy(&read().unwrap_or_default()), lines)
}
