//! Reads a ZIP from a file. The central directory, which comes last, counts: only it says what is a link, and
//! what a ZIP holds. A ZIP can therefore not be read as a stream.
//!
//! By `rawzip`, which walks the directory without building it in memory: a gigabyte of directory has twenty
//! million entries. It checks structure and sums; bounds, names and overlaps are checked here.

use super::repack::{Repack, folder};
use super::{ArchiveError, Limits, Summary};
use crate::budget::Budget;
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive};
use std::fs::File;
use std::io::Write;

/// The bits of a Unix mode that say what a file is, and those of an ordinary file and a folder.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Rewrites a ZIP.
pub(crate) fn repack_zip(
    file: File,
    limits: Limits,
    budget: Budget,
    out: impl Write,
) -> Result<Summary, ArchiveError> {
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
    let mut repack = Repack::new(out, limits, None, budget);

    // First what needs no content: a bomb of overlapping entries is not decompressed at all.
    let mut ranges = Vec::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(damaged)? {
        repack.count()?;
        let opened = archive.get_entry(entry.wayfinder()).map_err(damaged)?;
        ranges.push(opened.compressed_data_range());
    }
    if ranges.len() as u64 != archive.entries_hint() {
        return Err(ArchiveError::cut_short());
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err(ArchiveError::Refused(
            "entries of the archive overlap, as those of a bomb do: make it again".to_owned(),
        ));
    }
    drop(ranges);

    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(damaged)? {
        let path = entry.file_path();
        let name = path.as_bytes();
        let refused = |why: &str| ArchiveError::of_entry(name, why);
        let kind = entry.mode().value() & TYPE;
        if entry.is_dir() || kind == FOLDER {
            folder(name)?;
            continue;
        }
        let Some(kept) = repack.file(name)? else {
            continue;
        };
        if kind != REGULAR && kind != 0 {
            return Err(refused(
                "is a link or no file: archive the files themselves",
            ));
        }
        if entry.flags().is_encrypted() {
            return Err(refused("is encrypted: send the archive without a password"));
        }
        let opened = archive.get_entry(entry.wayfinder()).map_err(damaged)?;
        let wrong = |_| refused("is damaged: check the archive with `unzip -t`");
        match entry.compression_method() {
            CompressionMethod::STORE => {
                repack.add(&kept, opened.verifying_reader(opened.reader()), wrong)?;
            }
            CompressionMethod::DEFLATE => {
                let inflated = DeflateDecoder::new(opened.reader());
                repack.add(&kept, opened.verifying_reader(inflated), wrong)?;
            }
            other => {
                let name = other.name().unwrap_or("an unknown method");
                return Err(refused(&format!(
                    "is compressed by {name}: use Deflate, as `zip` does by default"
                )));
            }
        }
    }
    repack.finish()
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn damaged(error: rawzip::Error) -> ArchiveError {
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => ArchiveError::Input(error),
        _ => ArchiveError::cut_short(),
    }
}
